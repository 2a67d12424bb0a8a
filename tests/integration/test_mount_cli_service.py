"""The same commands where a service runs: it takes the mounts, private supervisors are not needed."""

import os
import signal
import subprocess
import sys

import pytest

from mountd.wire.sockets import SERVICE_SOCKET

pytestmark = pytest.mark.fuse


@pytest.fixture
def service(mountd):
    """A running service; ended by a signal after the test, with all its mounts."""
    mountd.runtime.mkdir(mode=0o700)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mountd.daemon", "service", str(mountd.runtime)],
        env=mountd.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    mountd.wait_until((mountd.runtime / SERVICE_SOCKET).exists, "the service listens")
    yield process
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert mountd.mounts() == []
    assert not (mountd.runtime / SERVICE_SOCKET).exists()


def test_the_service_takes_the_mounts(mountd, local_source, tmp_path, service):
    for name in ("one", "two"):
        record = mountd.mount(local_source, tmp_path / name)
        assert (record.supervisor_pid, record.private, record.log) == (service.pid, False, None)
    assert (tmp_path / "two" / "a.txt").read_text() == "hello\n"
    mountd.run("unmount", tmp_path / "one", check=0)
    assert [record.name for record in mountd.records()] == ["two"]
    assert service.poll() is None


def test_a_mount_that_fails_does_not_hurt_the_service(mountd, local_source, tmp_path, service):
    mountd.mount(local_source, tmp_path / "one")
    (tmp_path / "file").touch()
    mountd.run("mount", local_source, tmp_path / "file", check=2)
    mountd.run("mount", local_source, tmp_path / "one", check=6)
    assert (tmp_path / "one" / "a.txt").read_text() == "hello\n"


def test_two_mounts_that_race_for_one_path_of_the_service(mountd, local_source, tmp_path, service):
    point = tmp_path / "point"
    commands = [mountd.start("mount", local_source, point, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [command.communicate(timeout=60)[1] for command in commands]
    assert sorted(command.returncode for command in commands) == [0, 6, 6], errors
    assert len(mountd.mounts()) == 1


def test_a_service_that_was_killed_does_not_stand_in_the_way(mountd, local_source, tmp_path):
    mountd.runtime.mkdir(mode=0o700)
    command = [sys.executable, "-P", "-m", "mountd.daemon", "service", str(mountd.runtime)]
    with subprocess.Popen(command, env=mountd.environ) as process:
        mountd.wait_until((mountd.runtime / SERVICE_SOCKET).exists, "the service listens")
        mountd.mount(local_source, tmp_path / "one")
        os.kill(process.pid, signal.SIGKILL)
    mountd.wait_gone()
    assert (mountd.runtime / SERVICE_SOCKET).exists()
    record = mountd.mount(local_source, tmp_path / "one")
    assert record.private
