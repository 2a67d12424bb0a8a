"""The supervisor: mounts come about, are watched, mended and shown."""

import os
import signal
from functools import partial

import pytest
import trio

from mountd.daemon import worker_process
from mountd.daemon.mount_keeper import Patience
from mountd.daemon.restart_policy import RestartRule
from mountd.errors import BusyError, DeadlineError, DeniedError, MountdError, NotFoundError, SetupError, UsageError
from mountd.fuse import mount_table
from mountd.wire.messages import Done, ListMounts, Mount, Mounted, Mounts, Prefetch, Status, Unmount
from tests.support.mounts import mounted_below
from tests.support.processes import process_is_over, wait_until_over
from tests.support.supervised import ODD_WORKER, listed, record_of, running, spec, wait_for

pytestmark = pytest.mark.fuse


async def test_a_mount_is_ready_when_it_is_said_to_be_and_gone_when_it_is_unmounted(tmp_path):
    point = tmp_path / "new"
    async with running(tmp_path) as supervisor:
        reply = await supervisor.answer(Mount(spec=spec(point)))
        assert isinstance(reply, Mounted)
        record = reply.record
        assert (record.name, record.state, record.source, record.restarts) == ("new", "ready", "odd storage", 0)
        assert mount_table.mount_at(str(point)).fstype == "fuse.mountd"
        assert os.listdir(point) == []
        assert await supervisor.answer(Unmount(mountpoint=str(point))) == Done()
        assert mount_table.mount_at(str(point)) is None
        assert process_is_over(record.worker_pid)
        assert point.is_dir(), "the mount point stays"
        assert await supervisor.answer(ListMounts()) == Mounts(records=[])


async def test_status_carries_what_the_worker_says(tmp_path):
    async with running(tmp_path) as supervisor:
        await supervisor.mount(spec(tmp_path / "a"))
        await supervisor.mount(spec(tmp_path / "b"))
        reply = await supervisor.answer(Status())
        assert [record.name for record in reply.records] == ["a", "b"]
        (record,) = (await supervisor.answer(Status(mountpoint=str(tmp_path / "b")))).records
        assert record.details == {"mode": "odd"}
        assert record.statistics["reads"] == 7
        assert record.statistics["waiting_for"] == ["getattr /: 9.0 s"]
        with pytest.raises(NotFoundError):
            await supervisor.answer(Status(mountpoint=str(tmp_path / "c")))
        with pytest.raises(UsageError):
            await supervisor.answer(Status(mountpoint="b"))


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("denied", DeniedError, "cannot mount odd storage at {}: the storage says no; ask for permission"),
        ("bug", MountdError, "an internal error ended the mount"),
        ("dies", SetupError, "was killed by SIGKILL while opening the source and mounting"),
        ("dies-mounted", SetupError, "was killed by SIGKILL while opening the source and mounting"),
    ],
)
async def test_a_mount_that_fails_says_why_and_leaves_nothing(tmp_path, how, kind, text, capfd):
    async with running(tmp_path) as supervisor:
        with pytest.raises(MountdError) as caught:
            await supervisor.mount(spec(tmp_path / "new", how))
        assert type(caught.value) is kind
        assert text.format(tmp_path / "new") in caught.value.message
        assert "c2VjcmV0" not in caught.value.message
        assert listed(supervisor) == []
        assert mounted_below(tmp_path) == []
        assert not (tmp_path / "new").exists(), "a mount point made for it goes with it"
    assert "c2VjcmV0" not in capfd.readouterr().err


async def test_a_worker_that_dies_without_a_word_is_looked_up_in_the_log(tmp_path):
    async with running(tmp_path, log="/var/log/of-this-mount.log") as supervisor:
        with pytest.raises(SetupError, match=r"the log says why: /var/log/of-this-mount\.log$"):
            await supervisor.mount(spec(tmp_path / "new", "dies"))


async def test_a_mount_point_that_was_there_stays_when_the_mount_fails(tmp_path):
    (tmp_path / "old").mkdir()
    async with running(tmp_path) as supervisor:
        with pytest.raises(DeniedError):
            await supervisor.mount(spec(tmp_path / "old", "denied"))
    assert (tmp_path / "old").is_dir()


@pytest.mark.parametrize(
    ("how", "step"),
    [("never", "opening the source and mounting"), ("silent", "waiting for a stat through the mount")],
)
async def test_a_mount_that_takes_too_long_is_given_up_by_name_of_its_step(tmp_path, how, step, monkeypatch):
    monkeypatch.setattr(worker_process, "_GRACE_S", 1.0)
    async with running(tmp_path, patience=Patience(ready_s=3)) as supervisor:
        with pytest.raises(DeadlineError, match=f"not ready within 3 s, still {step}"):
            await supervisor.mount(spec(tmp_path / "new", how))
        assert listed(supervisor) == []
        assert mounted_below(tmp_path) == []


@pytest.mark.parametrize("command", [(*ODD_WORKER, "broken"), ("/bin/false",), ("/nonexistent/worker",)])
async def test_a_worker_program_that_does_not_run_is_a_clear_failure(tmp_path, command):
    async with running(tmp_path, worker_command=command) as supervisor:
        with pytest.raises(SetupError, match="worker"):
            await supervisor.mount(spec(tmp_path / "new"))
        assert listed(supervisor) == []


async def test_a_worker_that_is_killed_is_replaced(tmp_path):
    point = tmp_path / "new"
    async with running(tmp_path) as supervisor:
        first = await supervisor.mount(spec(point))
        os.kill(first.worker_pid, signal.SIGKILL)
        await wait_for(lambda: listed(supervisor)[0].restarts == 1 and listed(supervisor)[0].state == "ready")
        record = await record_of(supervisor, point)
        assert record.worker_pid not in (first.worker_pid, None)
        assert record.last_error == "the worker was killed by SIGKILL"
        assert mount_table.probe(str(point), 5) == "alive"
        assert len(mounted_below(tmp_path)) == 1, "the dead mount is gone"


async def test_workers_that_die_too_often_are_given_up_and_who_reads_the_path_gets_an_error(tmp_path):
    point = tmp_path / "new"
    rule = RestartRule(limit=1, first_pause_s=0.01)
    async with running(tmp_path, restart_rule=rule) as supervisor:
        for deaths in (1, 2):
            record = await supervisor.mount(spec(point)) if deaths == 1 else await record_of(supervisor, point)
            os.kill(record.worker_pid, signal.SIGKILL)
            await wait_for(lambda: listed(supervisor)[0].restarts == deaths)  # noqa: B023 - awaited at once
            await wait_for(lambda: listed(supervisor)[0].state in ("ready", "failed"))
        assert (await record_of(supervisor, point)).state == "failed"
        assert [record.mountpoint for record in supervisor.failures] == [str(point)]
        with pytest.raises(OSError, match="not connected"):
            os.listdir(point)  # an empty directory would be a lie
        with pytest.raises(BusyError, match=r"\(failed\)"):
            await supervisor.mount(spec(point))
        await supervisor.answer(Unmount(mountpoint=str(point)))
        assert listed(supervisor) == []
        assert os.listdir(point) == []
        assert mounted_below(tmp_path) == []


async def test_who_waits_for_mounts_learns_that_one_was_given_up(tmp_path):
    async with running(tmp_path, restart_rule=RestartRule(limit=0)) as supervisor:
        record = await supervisor.mount(spec(tmp_path / "new"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(supervisor.wait_idle, or_failed=True))
            os.kill(record.worker_pid, signal.SIGKILL)
            nursery.cancel_scope.deadline = trio.current_time() + 20
        assert not nursery.cancel_scope.cancelled_caught
        assert len(supervisor.failures) == 1


async def test_a_worker_that_cannot_be_replaced_yet_is_tried_again(tmp_path):
    point, trouble = tmp_path / "new", tmp_path / "trouble"
    rule = RestartRule(limit=100, first_pause_s=0.01, longest_pause_s=0.05)
    async with running(tmp_path, restart_rule=rule) as supervisor:
        record = await supervisor.mount(spec(point, trouble))
        trouble.touch()
        os.kill(record.worker_pid, signal.SIGKILL)
        await wait_for(lambda: "while opening" in (listed(supervisor)[0].last_error or ""))
        assert listed(supervisor)[0].state == "restarting"
        with pytest.raises(OSError, match="not connected"):
            os.listdir(point)  # an empty directory would be a lie
        trouble.unlink()
        await wait_for(lambda: listed(supervisor)[0].state == "ready")
        assert os.listdir(point) == []
        assert len(mounted_below(tmp_path)) == 1, "the dead mount is gone"


async def test_what_is_to_be_brought_waits_for_a_worker_that_is_being_replaced(tmp_path):
    point, trouble = tmp_path / "new", tmp_path / "trouble"
    rule = RestartRule(limit=100, first_pause_s=0.01, longest_pause_s=0.05)
    order = Prefetch(mountpoint=str(point), patterns=[], pin=False, ticket="t")
    async with running(tmp_path, restart_rule=rule) as supervisor:
        record = await supervisor.mount(spec(point, trouble))
        trouble.touch()
        os.kill(record.worker_pid, signal.SIGKILL)
        replies = []

        async def ask():
            replies.append(await supervisor.answer(order))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_for(lambda: "while opening" in (listed(supervisor)[0].last_error or ""))
            assert replies == []
            trouble.unlink()
        assert replies == [Done()]
        assert listed(supervisor)[0].state == "ready"


@pytest.mark.parametrize("ended", [True, False], ids=["is ended", "is not replaced in time"])
async def test_what_is_to_be_brought_waits_no_longer_than_there_is_hope(tmp_path, ended):
    point = tmp_path / "new"
    order = Prefetch(mountpoint=str(point), patterns=[], pin=False, ticket="t")
    patience = Patience(ready_s=20 if ended else 4, answer_s=0.5, check_every_s=0.1)
    async with running(
        tmp_path, restart_rule=RestartRule(limit=100, first_pause_s=60), patience=patience
    ) as supervisor:
        record = await supervisor.mount(spec(point))
        os.kill(record.worker_pid, signal.SIGKILL)
        await wait_for(lambda: listed(supervisor)[0].state == "restarting")
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                if ended:
                    nursery.start_soon(supervisor.answer, Unmount(mountpoint=str(point)))
                with pytest.raises(BusyError, match="is stopping" if ended else "is restarting"):
                    await supervisor.answer(order)


async def test_a_mount_can_be_ended_while_its_worker_is_being_replaced(tmp_path):
    point, trouble = tmp_path / "new", tmp_path / "trouble"
    async with running(tmp_path, restart_rule=RestartRule(limit=100, first_pause_s=60)) as supervisor:
        record = await supervisor.mount(spec(point, trouble))
        os.kill(record.worker_pid, signal.SIGKILL)
        await wait_for(lambda: listed(supervisor)[0].state == "restarting")
        with trio.fail_after(10):
            await supervisor.answer(Unmount(mountpoint=str(point)))
        assert listed(supervisor) == []


async def test_unmounting_from_outside_ends_the_mount(tmp_path):
    point = tmp_path / "new"
    async with running(tmp_path) as supervisor:
        record = await supervisor.mount(spec(point))
        mount_table.unmount(str(point))
        with trio.fail_after(10):
            await supervisor.wait_idle()
        assert process_is_over(record.worker_pid)
        assert supervisor.untroubled
        again = await supervisor.mount(spec(point))
        assert again.state == "ready"


async def test_a_worker_that_is_asked_to_end_by_a_signal_ends_its_mount(tmp_path):
    async with running(tmp_path) as supervisor:
        record = await supervisor.mount(spec(tmp_path / "new"))
        os.kill(record.worker_pid, signal.SIGTERM)
        with trio.fail_after(10):
            await supervisor.wait_idle()
        assert supervisor.untroubled


async def test_a_worker_that_does_not_answer_is_shown_so_and_nothing_hangs(tmp_path):
    point = tmp_path / "new"
    async with running(tmp_path) as supervisor:
        record = await supervisor.mount(spec(point))
        os.kill(record.worker_pid, signal.SIGSTOP)
        try:
            with trio.fail_after(5):
                (shown,) = (await supervisor.answer(Status())).records
                assert (shown.state, shown.statistics) == ("not answering", None)
                assert (await record_of(supervisor, point)).state == "ready"
        finally:
            os.kill(record.worker_pid, signal.SIGCONT)
        (shown,) = (await supervisor.answer(Status())).records
        assert (shown.state, shown.restarts) == ("ready", 0)


async def test_a_worker_that_hangs_is_replaced(tmp_path):
    patience = Patience(answer_s=0.5, check_every_s=0.1, hung_s=2)  # what replaces it has time to answer
    async with running(tmp_path, patience=patience) as supervisor:
        record = await supervisor.mount(spec(tmp_path / "new"))
        os.kill(record.worker_pid, signal.SIGSTOP)
        await wait_for(lambda: listed(supervisor)[0].restarts == 1 and listed(supervisor)[0].state == "ready")
        await wait_until_over(record.worker_pid)
