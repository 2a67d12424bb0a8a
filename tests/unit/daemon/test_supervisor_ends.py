"""The supervisor: how mounts end, whoever uses or wants them."""

import os

import pytest
import trio

from mountd.daemon import worker_process
from mountd.errors import BusyError, MountdError, SetupError
from mountd.fuse import mount_table
from mountd.wire.messages import Done, Mount, Shutdown, Unmount
from tests.support.mounts import mounted_below
from tests.support.processes import process_is_over, wait_until_over
from tests.support.supervised import listed, record_of, running, spec, wait_for

pytestmark = pytest.mark.fuse


async def test_a_busy_mount_stays_and_says_who_uses_it(tmp_path):
    point = tmp_path / "new"
    async with running(tmp_path) as supervisor:
        await supervisor.mount(spec(point))
        holder = await trio.lowlevel.open_process(["sleep", "60"], cwd=str(point))
        try:
            with pytest.raises(BusyError, match=rf"used by pid {holder.pid} \(sleep 60, working directory\)"):
                await supervisor.answer(Unmount(mountpoint=str(point)))
            assert (await record_of(supervisor, point)).state == "ready"
            assert mount_table.probe(str(point), 5) == "alive"
        finally:
            holder.kill()
            with trio.CancelScope(shield=True):
                await holder.wait()
        await supervisor.answer(Unmount(mountpoint=str(point)))


async def test_a_lazily_unmounted_mount_serves_on_while_the_next_one_takes_its_place(tmp_path):
    point = tmp_path / "new"
    async with running(tmp_path) as supervisor:
        first = await supervisor.mount(spec(point))
        handle = os.open(point, os.O_RDONLY)
        await supervisor.answer(Unmount(mountpoint=str(point), lazy=True))
        assert (await record_of(supervisor, point)).state == "detached"
        assert mounted_below(tmp_path) == []
        second = await supervisor.mount(spec(point))
        assert {record.state for record in listed(supervisor)} == {"detached", "ready"}
        assert os.fstatvfs(handle) is not None
        os.close(handle)
        await wait_for(lambda: len(listed(supervisor)) == 1)
        await wait_until_over(first.worker_pid)
        assert (await record_of(supervisor, point)).worker_pid == second.worker_pid
        assert mount_table.probe(str(point), 5) == "alive", "the end of the first does not touch the second"
        await supervisor.answer(Unmount(mountpoint=str(point)))


async def test_the_end_of_a_detached_mount_leaves_the_next_one_at_its_place_alone(tmp_path):
    point = tmp_path / "new"
    async with running(tmp_path) as two:
        async with running(tmp_path, alone=False) as one:
            await one.mount(spec(point))
            handle = os.open(point, os.O_RDONLY)
            try:
                await one.answer(Unmount(mountpoint=str(point), lazy=True))
                await two.mount(spec(point))
                await one.end_all()
            finally:
                os.close(handle)
        assert mount_table.probe(str(point), 5) == "alive"
        assert len(mounted_below(tmp_path)) == 1


async def test_detaching_from_outside_is_noticed(tmp_path):
    point = tmp_path / "new"
    async with running(tmp_path) as supervisor:
        await supervisor.mount(spec(point))
        handle = os.open(point, os.O_RDONLY)
        try:
            mount_table.unmount(str(point), lazy=True)
            await wait_for(lambda: listed(supervisor)[0].state == "detached")
        finally:
            os.close(handle)
        with trio.fail_after(10):
            await supervisor.wait_idle()


async def test_a_detached_mount_that_is_unmounted_again_is_served_to_its_end(tmp_path):
    """Two may unmount at once: the second takes nothing from those who use it elsewhere."""
    point = tmp_path / "new"
    async with running(tmp_path) as supervisor:
        await supervisor.mount(spec(point))
        handle = os.open(point, os.O_RDONLY)
        try:
            await supervisor.answer(Unmount(mountpoint=str(point), lazy=True))
            second = await supervisor.mount(spec(point))
            await supervisor.answer(Unmount(mountpoint=str(point)))
            assert [record.state for record in listed(supervisor)] == ["detached"]
            await wait_until_over(second.worker_pid)
            assert "is served there to its end" in (await supervisor.answer(Unmount(mountpoint=str(point)))).note
            assert [record.state for record in listed(supervisor)] == ["detached"]
            os.fstatvfs(handle)
        finally:
            os.close(handle)
        with trio.fail_after(20):
            await supervisor.wait_idle()


async def test_ending_everything_does_not_wait_for_users(tmp_path):
    point = tmp_path / "new"
    async with running(tmp_path) as supervisor:
        record = await supervisor.mount(spec(point))
        handle = os.open(point, os.O_RDONLY)
        try:
            with trio.fail_after(10):
                await supervisor.end_all()
            assert mounted_below(tmp_path) == []
            assert process_is_over(record.worker_pid)
            with pytest.raises(BusyError, match="about to end"):
                await supervisor.mount(spec(tmp_path / "late"))
        finally:
            os.close(handle)


async def test_a_worker_that_does_not_heed_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_process, "_GRACE_S", 0.5)
    point = tmp_path / "new"
    async with running(tmp_path) as supervisor:
        record = await supervisor.mount(spec(point, "deaf"))
        handle = os.open(point, os.O_RDONLY)
        try:
            await supervisor.end_all()
            assert process_is_over(record.worker_pid)
            assert mounted_below(tmp_path) == []
        finally:
            os.close(handle)


@pytest.mark.parametrize("supervisors", [1, 2])
async def test_of_two_mounts_that_race_for_one_path_one_wins(tmp_path, supervisors):
    point = tmp_path / "new"
    outcomes = []

    async def attempt(supervisor):
        try:
            outcomes.append(await supervisor.mount(spec(point)))
        except MountdError as error:
            outcomes.append(error)

    async with running(tmp_path) as one, running(tmp_path, alone=False) as two:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, one)
            nursery.start_soon(attempt, two if supervisors == 2 else one)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BusyError", "MountRecord"]
        assert len(mounted_below(tmp_path)) == 1
        assert os.listdir(point) == []


async def test_a_mount_that_nobody_waits_for_any_more_is_taken_back(tmp_path):
    async with running(tmp_path) as supervisor:
        with trio.move_on_after(1):
            await supervisor.mount(spec(tmp_path / "new", "never"))
        assert listed(supervisor) == []
        assert not (tmp_path / "new").exists()


async def test_a_mount_in_the_making_can_be_unmounted(tmp_path):
    async with running(tmp_path) as supervisor, trio.open_nursery() as nursery:

        async def attempt():
            with pytest.raises(SetupError, match="before it was ready"):
                await supervisor.mount(spec(tmp_path / "new", "never"))

        nursery.start_soon(attempt)
        await wait_for(lambda: listed(supervisor) and listed(supervisor)[0].worker_pid)
        await supervisor.answer(Unmount(mountpoint=str(tmp_path / "new")))
        assert listed(supervisor) == []


async def test_a_request_to_shut_down_is_passed_on(tmp_path):
    async with running(tmp_path) as supervisor:
        assert await supervisor.answer(Shutdown()) == Done()
        with trio.fail_after(20):
            await supervisor.wait_shutdown()


async def test_a_mount_ends_with_the_process_that_owns_it(tmp_path):
    point = tmp_path / "owned"
    async with running(tmp_path) as supervisor:
        owner = await trio.lowlevel.open_process(["sleep", "1000"])
        await supervisor.answer(Mount(spec=spec(point), owner_pid=owner.pid))
        handle = os.open(point, os.O_RDONLY)  # in use: no reason to stay
        owner.kill()
        await owner.wait()
        await wait_for(lambda: not listed(supervisor))
        os.close(handle)
        with pytest.raises(SetupError, match=f"the process {owner.pid} that asked for a mount is not there"):
            await supervisor.answer(Mount(spec=spec(point), owner_pid=owner.pid))
        # one that is detached is served to its end,
        owner = await trio.lowlevel.open_process(["sleep", "1000"])
        await supervisor.answer(Mount(spec=spec(point), owner_pid=owner.pid))
        handle = os.open(point, os.O_RDONLY)
        await supervisor.answer(Unmount(mountpoint=str(point), lazy=True))
        owner.kill()
        await owner.wait()
        with trio.move_on_after(0.2):  # it has to stay; to see it go would take no longer
            await wait_for(lambda: not listed(supervisor))
        assert [record.state for record in listed(supervisor)] == ["detached"]
        os.close(handle)
        await wait_for(lambda: not listed(supervisor))
        # and one that is unmounted first leaves nothing that watches
        await supervisor.answer(Mount(spec=spec(point), owner_pid=os.getpid()))
        await supervisor.answer(Unmount(mountpoint=str(point)))
        assert listed(supervisor) == []
