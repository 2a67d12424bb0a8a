"""What becomes of a mount whose worker, supervisor or connection dies or hangs. SEMANTICS: "The end of a mount"."""

import os
import signal
import subprocess

import pytest

from mountd.fuse import fusectl, mount_table
from tests.support.mounts import in_use

pytestmark = pytest.mark.fuse
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_a_worker_that_is_killed_is_replaced_and_the_trouble_is_shown(mountd, local_source, point):
    record = mountd.mount(local_source, point)
    os.kill(record.worker_pid, signal.SIGKILL)
    mountd.wait_until(lambda: (now := mountd.record(point)).state == "ready" and now.restarts == 1, "replaced")
    assert (point / "a.txt").read_text() == "hello\n"
    after = mountd.status(point)
    assert after["restarts"] == 1
    assert after["last_error"] == "the worker was killed by SIGKILL"
    assert after["worker_pid"] != record.worker_pid
    assert "1 restarts; last: the worker was killed by SIGKILL" in mountd.run("status", check=0).stdout
    mountd.run("unmount", point, check=0)
    assert "worker died" in mountd.logs(), "the log of a mount with incidents is kept"


@needs_root
def test_a_connection_that_somebody_aborted_is_made_anew_and_said_to_have_been(mountd, local_source, point):
    mountd.mount(local_source, point)
    fusectl.write(os.minor(point.stat().st_dev), "abort", 1)
    mountd.wait_until(lambda: (now := mountd.record(point)).state == "ready" and now.restarts == 1, "replaced")
    assert (point / "a.txt").read_text() == "hello\n"
    assert "the connection to the kernel was aborted" in mountd.status(point)["last_error"]
    assert len(mountd.mounts()) == 1


@pytest.fixture
def tmpfs(point):
    """Mounts something of somebody else's at the mount point."""
    mounted = []

    def mount():
        subprocess.run(["mount", "-t", "tmpfs", "theirs", str(point)], check=True)
        mounted.append(point)

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


@needs_root
def test_what_somebody_mounts_right_after_an_unmount_is_left_alone(mountd, local_source, point, tmpfs):
    """The kernel gives the new mount the number of the old one."""
    mountd.mount(local_source, point)
    subprocess.run(["umount", str(point)], check=True)
    tmpfs()
    mountd.wait_until(lambda: not mountd.processes(), "ended")
    assert mount_table.mount_at(str(point)).source == "theirs"


@needs_root
def test_a_replacement_does_not_mount_over_what_somebody_mounted_meanwhile(mountd, local_source, point, tmpfs):
    record = mountd.mount(local_source, point)
    aside = local_source.rename(local_source.with_name("aside"))
    os.kill(record.worker_pid, signal.SIGKILL)
    mountd.wait_until(lambda: mountd.record(point).state == "restarting", "restarting")
    mount_table.heal(str(point))
    tmpfs()
    aside.rename(local_source)
    mountd.wait_until(lambda: "theirs mounted on it" in (mountd.status(point)["last_error"] or ""), "refused")
    assert mount_table.mount_at(str(point)).source == "theirs"


def test_a_mount_that_is_being_mended_is_not_taken_away_by_another(mountd, local_source, point, tmp_path):
    """Readers are to see an error until it is mended, no empty directory."""
    record = mountd.mount(local_source, point)
    (tmp_path / "other").mkdir()
    aside = local_source.rename(local_source.with_name("aside"))
    os.kill(record.worker_pid, signal.SIGKILL)
    mountd.wait_until(lambda: mountd.record(point).state == "restarting", "restarting")
    done = mountd.run("mount", tmp_path / "other", point, check=6)
    assert f"{point} already has {local_source} mounted on it (restarting)" in done.stderr
    with pytest.raises(OSError, match="not connected"):
        os.listdir(point)
    aside.rename(local_source)
    mountd.wait_until(lambda: mountd.record(point).state == "ready", "mended")
    assert (point / "a.txt").read_text() == "hello\n"


@pytest.fixture
def given_up(mountd, local_source, point):
    """A mount whose workers were killed until there was no other one."""
    record = mountd.mount(local_source, point)
    for deaths in range(1, 7):
        os.kill(record.worker_pid, signal.SIGKILL)
        mountd.wait_until(
            lambda: (now := mountd.record(point)).restarts == deaths and now.state in {"ready", "failed"},  # noqa: B023
            f"{deaths} deaths are noticed",
        )
        record = mountd.record(point)
    assert record.state == "failed"


@pytest.mark.usefixtures("given_up")
def test_a_mount_that_was_given_up_is_an_error_and_is_healed_by_the_next(mountd, local_source, point):
    with pytest.raises(OSError, match="not connected"):
        os.listdir(point)
    mountd.mount(local_source, point)
    assert (point / "a.txt").read_text() == "hello\n"
    assert [record.state for record in mountd.records()] == ["ready"]
    assert len(mountd.mounts()) == 1


@needs_root
@pytest.mark.usefixtures("given_up")
def test_a_mount_that_was_given_up_and_taken_away_can_be_made_again(mountd, local_source, point):
    subprocess.run(["umount", "-l", point], check=True)
    mountd.mount(local_source, point)
    assert (point / "a.txt").read_text() == "hello\n"


@pytest.mark.usefixtures("given_up")
def test_a_mount_that_was_given_up_can_be_unmounted(mountd, point):
    mountd.run("unmount", point, check=0)
    assert os.listdir(point) == []
    assert (mountd.mounts(), mountd.processes()) == ([], [])


# ---- mounted elsewhere too


@pytest.fixture
def bound(point, tmp_path):
    """Returns a function that binds the mount to another place, which ends with the test."""
    place = tmp_path / "bound"
    place.mkdir()
    yield lambda: subprocess.run(["mount", "--bind", point, place], check=True) and place
    subprocess.run(["umount", "-l", place], check=False, capture_output=True)


@needs_root
@pytest.mark.parametrize("how", [["unmount"], ["unmount", "--lazy"]])
def test_what_is_bound_elsewhere_is_served_there_after_an_unmount(mountd, local_source, point, bound, how):
    mountd.mount(local_source, point)
    place = bound()
    with (place / "a.txt").open() as file:
        assert "and is served there to its end" in mountd.run(*how, point, check=0).stdout
        assert file.read() == "hello\n"
        assert (place / "sub/b.txt").exists()
        assert os.listdir(point) == []
        assert [record.state for record in mountd.records()] == ["detached"]
        mountd.mount(local_source, point)
        mountd.run("unmount", point, check=0)
        assert file.seek(0) == 0
        assert file.read() == "hello\n"
    subprocess.run(["umount", place], check=True)
    mountd.wait_gone()


@needs_root
@pytest.mark.parametrize("outside", [True, False])
def test_two_who_unmount_take_nothing_from_a_third(mountd, local_source, point, bound, outside):
    mountd.mount(local_source, point)
    place = bound()
    with (place / "a.txt").open() as file:
        if outside:
            subprocess.run(["umount", point], check=True)
        commands = [mountd.start("unmount", point, stdout=subprocess.PIPE) for _ in range(2)]
        assert {command.wait(30) for command in commands} <= {0, 3}, "3: nothing is mounted there any more"
        for command in commands:
            command.stdout.close()
        assert file.read() == "hello\n"
        assert sorted(os.listdir(place)) == ["a.txt", "sub"]
    subprocess.run(["umount", place], check=True)
    mountd.wait_gone()


@needs_root
def test_what_another_mount_namespace_has_is_served_there_after_an_unmount(mountd, local_source, point):
    mountd.mount(local_source, point)
    script = f"echo in; read _; cat {point}/a.txt"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        assert "another mount namespace" in mountd.run("unmount", point, check=0).stdout
        assert other.communicate("\n", timeout=20)[0] == "hello\n"
    mountd.wait_gone()


def test_a_killed_supervisor_takes_everything_with_it(mountd, local_source, point):
    record = mountd.mount(local_source, point)
    with in_use(point / "a.txt"):
        os.kill(record.supervisor_pid, signal.SIGKILL)
        mountd.wait_gone()
    assert mountd.records() == []
    assert list(mountd.runtime.rglob("*.sock")) == [], "looking sweeps dead sockets"
    mountd.mount(local_source, point)


@pytest.fixture
def stale(mountd, local_source, point):
    """A dead mount: everything that served it was killed at once."""
    record = mountd.mount(local_source, point)
    os.kill(record.supervisor_pid, signal.SIGSTOP)
    os.kill(record.worker_pid, signal.SIGKILL)
    os.kill(record.supervisor_pid, signal.SIGKILL)
    mountd.wait_until(lambda: not mountd.processes(), "dead")
    assert len(mountd.mounts()) == 1
    assert mount_table.probe(str(point), 5) == "dead"


@pytest.mark.usefixtures("stale")
def test_a_dead_mount_is_healed_by_the_next(mountd, local_source, point):
    mountd.mount(local_source, point)
    assert (point / "a.txt").read_text() == "hello\n"
    assert len(mountd.mounts()) == 1


@pytest.mark.usefixtures("stale")
def test_who_asks_for_a_dead_mount_is_told_that_it_is_dead_and_what_to_do(mountd, point):
    said = mountd.run("status", point, check=3).stderr
    assert f"nothing serves the mount at {point} any more; `mountd unmount {point}` takes away what is left" in said
    mountd.run("unmount", point, check=0)
    assert f"no mount of yours is at {point}" in mountd.run("status", point, check=3).stderr


@pytest.mark.usefixtures("stale")
def test_a_dead_mount_can_be_unmounted(mountd, point):
    mountd.run("unmount", point, check=0)
    assert mountd.mounts() == []


# ---- hangs


@pytest.fixture
def stopped(mountd):
    """Return a function that stops a process until the end of the test."""
    processes = []

    def stop(process):
        os.kill(process, signal.SIGSTOP)
        processes.append(process)

    yield stop
    for process in processes:
        os.kill(process, signal.SIGCONT)


def test_a_worker_that_hangs_makes_nothing_else_hang(mountd, local_source, point, stopped, tmp_path):
    record = mountd.mount(local_source, point)
    stopped(record.worker_pid)
    assert mountd.record(point).state == "ready"
    assert f"{point}  not answering" in mountd.run("status", check=0).stdout
    done = mountd.run("mount", local_source, point, check=6)
    assert "does not answer" in done.stderr
    done = mountd.run("mount", local_source, point / "inside", check=5)
    assert "does not answer within" in done.stderr
    mountd.mount(local_source, tmp_path / "other")


def test_a_mount_whose_worker_hangs_can_be_unmounted(mountd, local_source, point):
    record = mountd.mount(local_source, point)
    os.kill(record.worker_pid, signal.SIGSTOP)
    mountd.run("unmount", point, check=0)
    assert mountd.mounts() == []
    assert mountd.processes() == []


def test_a_supervisor_that_hangs_is_shown_and_named(mountd, local_source, point, stopped):
    record = mountd.mount(local_source, point)
    stopped(record.supervisor_pid)
    (shown,) = mountd.records()
    assert (shown.state, shown.name) == ("not answering", "point")
    assert f"pid {record.supervisor_pid}" in shown.last_error
    assert "not answering" in mountd.run("list", check=0).stdout
    assert (point / "a.txt").read_text() == "hello\n", "the worker serves on"
    assert "did not answer" in mountd.run("unmount", "--all", check=5).stderr
