"""How a mount ends: told to, signalled, unmounted from outside. SEMANTICS: "The end of a mount"."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from mountd.errors import BusyError
from mountd.fuse import fusectl, mount_table

pytestmark = [pytest.mark.fuse, pytest.mark.both_engines]

MIB = 1 << 20
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="umount(8), and to abort a connection, is for root")

UNMOUNTS = {
    "umount2": lambda path: mount_table.unmount(str(path)),
    "fusermount3 -u": lambda path: subprocess.run(["fusermount3", "-u", str(path)], check=True),
    "umount": lambda path: subprocess.run(["umount", str(path)], check=True),
}


@pytest.fixture
def server(serve):
    server = serve({"file": b"content", "big": 8 * MIB})
    os.listdir(server.path)
    return server


@pytest.mark.parametrize("how", ["umount2", "fusermount3 -u", pytest.param("umount", marks=as_root)])
def test_unmounted_from_outside_the_process_ends_by_itself(server, how):
    UNMOUNTS[how](server.path)
    assert server.end_reason() == "unmounted"
    assert not server.mounted()
    assert os.listdir(server.path) == [], "the directory below is what it was"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signalled_it_unmounts_and_ends(server, number):
    server.process.send_signal(number)
    assert server.end_reason() == "stopped"
    assert not server.mounted()


def test_told_to_stop(server):
    server.call("stop")
    assert server.end_reason() == "stopped"
    assert not server.mounted()


def test_a_busy_mount_is_not_unmounted_and_goes_on(server):
    with (server.path / "file").open("rb") as opened:
        with pytest.raises(BusyError):
            mount_table.unmount(str(server.path))
        assert opened.read() == b"content"
    assert (server.path / "file").read_bytes() == b"content"


def test_a_lazy_unmount_lets_open_files_live(server):
    with (server.path / "big").open("rb") as opened:
        server.unmount(lazy=True)
        assert not server.mounted()
        assert os.listdir(server.path) == []
        assert opened.read() == bytes(8 * MIB)
        assert server.process.poll() is None
    assert server.end_reason() == "unmounted"


GONE = {errno.ENOTCONN, errno.ECONNABORTED}


@pytest.fixture
def big(server):
    """Return a descriptor of the large file, which may be closed when the mount is long gone."""
    fd = os.open(server.path / "big", os.O_RDONLY)
    yield fd
    with contextlib.suppress(OSError):
        os.close(fd)


def test_signalled_with_open_files_they_end_in_errors(server, big):
    assert os.pread(big, 10, 0) == bytes(10)
    server.terminate()
    assert server.end_reason() == "stopped"
    assert not server.mounted()
    for use in (lambda: os.pread(big, 10, 7 * MIB), lambda: os.fstatvfs(big)):
        with pytest.raises(OSError) as caught:
            use()
        assert caught.value.errno in GONE


def test_signalled_while_reads_are_stuck(server, big):
    server.fault(method="read", block=True)
    server.expect_log("requests under way were cut off")
    outcomes = []

    def read(offset):
        try:
            outcomes.append(os.pread(big, 10, offset))
        except OSError as error:
            outcomes.append(error.errno)

    readers = [threading.Thread(target=read, args=[(1 + index) * MIB]) for index in range(6)]
    for reader in readers:
        reader.start()
    server.wait_blocked(1)
    started = time.monotonic()
    server.terminate()
    assert server.end_reason() == "stopped"
    assert time.monotonic() - started < 10
    assert not server.mounted()
    for reader in readers:
        reader.join(10)
    assert len(outcomes) == 6
    assert set(outcomes) <= GONE


def test_signalled_while_a_read_is_about_to_end_it_gets_its_bytes(server, big):
    server.fault(method="read", delay_s=0.5)
    outcome = []
    reader = threading.Thread(target=lambda: outcome.append(os.pread(big, 10, 4 * MIB)))
    before = server.counters()["reads"]
    reader.start()
    server.wait_until(lambda counters: counters["reads"] > before)
    server.terminate()
    reader.join(10)
    assert server.end_reason() == "stopped"
    assert outcome == [bytes(10)]


def test_killed_it_leaves_a_dead_mount_that_can_be_healed(server):
    server.kill()
    assert server.mounted()
    assert mount_table.probe(str(server.path), 5) == "dead"
    with pytest.raises(OSError) as caught:
        os.listdir(server.path)
    assert caught.value.errno == errno.ENOTCONN
    assert mount_table.heal(str(server.path))
    assert not server.mounted()


@as_root
def test_a_session_that_fails_leaves_its_mount_dead(server):
    """Until somebody mends it, an error is better than an empty directory."""
    fusectl.write(os.minor(server.path.stat().st_dev), "abort", 1)
    assert server.failure() == "failed: the connection to the kernel was aborted"
    assert server.mounted()
    assert mount_table.probe(str(server.path), 5) == "dead"
    assert mount_table.heal(str(server.path))


def test_the_place_can_be_used_again(serve, server):
    server.close()
    again = serve({"other": b"x"}, mountpoint=server.path)
    assert os.listdir(again.path) == ["other"]


@pytest.mark.usefixtures("big")
def test_an_old_session_leaves_the_mount_that_took_its_place_alone(serve, server):
    server.unmount(lazy=True)  # and lives on for the file that is open
    successor = serve({"new": b"x"}, mountpoint=server.path)
    server.terminate()
    assert server.process.wait(15) == 0
    assert os.listdir(successor.path) == ["new"]


@pytest.mark.parametrize(
    "name",
    ["with space", "a,b=c", "back\\slash", "new\nline", "tab\t", "form\x0cfeed", "\u2028", "日本", "\udcff", "#"],
)
def test_mount_points_of_every_name(serve, tmp_path, name):
    (tmp_path / name).mkdir()
    server = serve({"file": b"content"}, mountpoint=tmp_path / name)
    assert (server.path / "file").read_bytes() == b"content"
    assert "in the mount table" not in str(server.call("tuning"))
    server.unmount()
    assert server.end_reason() == "unmounted"


def test_a_mount_that_the_kernel_refuses_is_one_clear_error(serve, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(AssertionError, match="the kernel or fusermount3 refused"):
        serve({}, mountpoint=tmp_path / "loop")


def test_without_the_private_hook_of_pyfuse3_it_serves_all_the_same(serve):
    server = serve({"file": b"content", "big": 8 * MIB}, without_hook=True, engine="libfuse")
    server.expect_log("fast path off")
    assert sorted(os.listdir(server.path)) == ["big", "file"]
    assert (server.path / "big").read_bytes() == bytes(8 * MIB)
    assert "fast path off" in server.stderr()
    shutil.copytree(server.path, server.path.parent / "copy")
