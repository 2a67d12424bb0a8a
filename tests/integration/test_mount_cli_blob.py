"""`mountd mount` of Blob containers: what the store refuses, and where secrets may not show up."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.azurite]


@pytest.fixture
def url(azurite_container):
    """The URL of a container that holds `dir/a.txt`."""
    with azurite_container.client as client:
        client.upload_blob("dir/a.txt", b"from blob\n")
    return f"{azurite_container.account_url}/{azurite_container.name}"


def refused(mountd, status, pattern, source, point, **environ):
    """Check that a mount is refused in one line and leaves nothing."""
    done = mountd.run("mount", source, point, check=status, **environ)
    (line,) = done.stderr.splitlines()
    assert line.startswith("mountd: error: cannot mount ")
    assert re.search(pattern, line), line
    assert mountd.mounts() == []
    assert not point.exists()
    mountd.wait_until(lambda: not mountd.processes(), "no process")
    return line


def test_a_container_of_the_emulator_is_read_with_its_well_known_key(mountd, url, point):
    mountd.mount(url, point)
    assert (point / "dir" / "a.txt").read_bytes() == b"from blob\n"


def test_a_directory_and_a_single_blob_can_be_mounted(mountd, url, tmp_path):
    mountd.mount(f"{url}/dir", tmp_path / "one")
    mountd.mount(f"{url}/dir/a.txt", tmp_path / "two")
    assert os.listdir(tmp_path / "one") == os.listdir(tmp_path / "two") == ["a.txt"]
    assert (tmp_path / "two" / "a.txt").read_bytes() == b"from blob\n"


def test_a_container_that_is_not_there(mountd, azurite_container, point):
    refused(mountd, 3, "none-such", f"{azurite_container.account_url}/none-such", point)


def test_a_path_that_is_not_there(mountd, url, point):
    refused(mountd, 3, "dir/none", f"{url}/dir/none", point)


def test_a_wrong_key(mountd, url, point):
    key = "c2VjcmV0" * 11
    line = refused(mountd, 4, "refuses the account key", url, point, AZURE_STORAGE_KEY=key)
    assert key not in line + mountd.logs()


def test_an_expired_sas(mountd, azurite_container, url, point):
    sas = azurite_container.sas(hours=-2)
    line = refused(mountd, 4, "refuses the SAS|expired", f"{url}?{sas}", point)
    assert signature(sas) not in line + mountd.logs()


def signature(sas):
    return re.search(r"sig=([^&]+)", sas)[1]


def spoken(process):
    """Return everything that others can read about a process."""
    return (Path(f"/proc/{process}/cmdline").read_bytes() + Path(f"/proc/{process}/environ").read_bytes()).decode()


def test_a_sas_shows_up_nowhere(mountd, azurite_container, url, point):
    sas = azurite_container.sas("rl")
    done = mountd.run("mount", f"{url}?{sas}", point, check=0, AZURE_STORAGE_SAS_TOKEN=sas, MOUNTD_LOG_LEVEL="debug")
    assert (point / "dir" / "a.txt").read_bytes() == b"from blob\n"
    record = mountd.record(point)
    said = [
        done.stdout,
        done.stderr,
        mountd.run("list", check=0).stdout,
        mountd.run("list", "--json", check=0).stdout,
        mountd.run("status", check=0).stdout,
        mountd.run("status", "--json", check=0).stdout,
        Path("/proc/self/mountinfo").read_text(errors="surrogateescape"),
        Path(record.log).read_text(),
        spoken(record.supervisor_pid),
        spoken(record.worker_pid),
    ]
    assert signature(sas) not in "".join(said)
    assert url in said[0]


@pytest.fixture
def silent_url():
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/devstoreaccount1/container"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_ended_while_it_waits_leaves_nothing(mountd, silent_url, point, number):
    command = mountd.start("mount", silent_url, point, stderr=subprocess.PIPE)
    try:
        mountd.wait_until(lambda: [record for record in mountd.records() if record.worker_pid], "the worker runs")
        assert [record.state for record in mountd.records()] == ["starting"]
        command.send_signal(number)
        _, said = command.communicate(timeout=20)
        assert command.returncode == (130 if number == signal.SIGINT else -number)
        assert "Traceback" not in said
        mountd.wait_gone()
        assert not point.exists()
    finally:
        if command.poll() is None:
            command.kill()
            command.communicate()


def test_a_foreground_mount_can_be_interrupted_while_it_waits(mountd, silent_url, point):
    command = mountd.start("mount", "--foreground", silent_url, point, stderr=subprocess.PIPE)
    try:
        mountd.wait_until(lambda: [record for record in mountd.records() if record.worker_pid], "the worker runs")
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=20)
        assert command.returncode == 0
        assert "Traceback" not in said
        assert mountd.processes() == []
        assert not point.exists()
    finally:
        if command.poll() is None:
            command.kill()
            command.communicate()
