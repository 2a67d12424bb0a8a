"""What is told to the kernel after a mount, and what is said when it is refused."""

import errno
import os

import pytest

from mountd.fuse import fusectl, tuning
from mountd.fuse.mount_table import MountEntry
from mountd.units import GIB, KIB, MIB

ENTRY = MountEntry(mount_id=5, device="0:77", mountpoint="/mnt/x", fstype="fuse.mountd", source="s")


@pytest.fixture
def sysfs(tmp_path, monkeypatch):
    """A directory that looks like sysfs with fusectl for the mount above."""
    (tmp_path / "bdi" / "0:77").mkdir(parents=True)
    (tmp_path / "bdi" / "0:77" / "read_ahead_kb").write_text("128\n")
    (tmp_path / "connections" / "77").mkdir(parents=True)
    for name in ("max_background", "congestion_threshold"):
        (tmp_path / "connections" / "77" / name).write_text("12\n")
    monkeypatch.setattr(tuning, "BDI", tmp_path / "bdi")
    monkeypatch.setattr(fusectl, "CONNECTIONS", tmp_path / "connections")
    return tmp_path


def test_both_are_raised_and_said_so(sysfs):
    tuned = tuning.tune(ENTRY, background_set=False, read_ahead=4 * MIB)
    assert tuned == {"read-ahead": "4096 KiB", "max_background": "64 requests"}
    assert (sysfs / "bdi/0:77/read_ahead_kb").read_text() == "4096"
    assert (sysfs / "connections/77/max_background").read_text() == "64"
    assert (sysfs / "connections/77/congestion_threshold").read_text() == "48"


@pytest.mark.parametrize(
    ("memory", "request_", "ahead"),
    [
        (2 * GIB, MIB, 4 * MIB),
        (64 * MIB, MIB, 4 * MIB),
        (64 * MIB - 1, 512 * KIB, 2 * MIB),
        (16 * MIB, 256 * KIB, MIB),
        (MIB, 128 * KIB, 512 * KIB),
    ],
)
def test_all_reads_under_way_fit_the_memory_of_a_mount_unless_it_is_tiny(memory, request_, ahead):
    assert tuning.read_sizes(memory) == (request_, ahead)


def test_a_mount_that_is_not_in_the_table():
    assert tuning.tune(None, background_set=False, read_ahead=4 * MIB) == {
        "read-ahead": "kernel default: the mount is not in the mount table"
    }


def test_what_is_not_reachable_is_said_in_one_line(sysfs, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(fusectl, "_call", refuse)
    (sysfs / "bdi/0:77/read_ahead_kb").unlink()
    (sysfs / "bdi/0:77").rmdir()
    (sysfs / "connections/77/max_background").unlink()
    assert tuning.tune(ENTRY, background_set=False, read_ahead=4 * MIB) == {
        "read-ahead": "kernel default: No such file or directory",
        "max_background": "kernel default: Operation not permitted",
    }


def test_a_value_that_the_kernel_refuses(sysfs, monkeypatch):
    monkeypatch.setattr(tuning, "BDI", sysfs / "missing")
    (sysfs / "connections/77/congestion_threshold").unlink()
    (sysfs / "connections/77/congestion_threshold").mkdir()
    outcome = tuning.tune(ENTRY, background_set=False, read_ahead=4 * MIB)
    assert outcome["max_background"] == "kernel default: Is a directory"
    assert outcome["read-ahead"].startswith("kernel default: ")


@pytest.mark.fuse
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_fusectl_is_reached_without_being_mounted(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(fusectl, "CONNECTIONS", tmp_path)
    server = serve({"file": b"x"})
    minor = os.minor(os.stat(server.path).st_dev)
    before = set(os.listdir("/proc/self/fd"))
    fusectl.write(minor, "max_background", 33)
    assert set(os.listdir("/proc/self/fd")) == before, "no descriptor is left"
    with fusectl._detached() as mount:
        descriptor = os.open(f"{minor}/max_background", os.O_RDONLY, dir_fd=mount)
        assert os.read(descriptor, 100) == b"33\n"
        os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        fusectl.write(1 << 19, "max_background", 33)


@pytest.mark.fuse
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may tune")
def test_a_real_mount_is_tuned(serve):
    server = serve({"file": b"x"})
    assert server.call("tuning") == {"read-ahead": "4096 KiB", "max_background": "64 requests"}
    number = os.stat(server.path).st_dev
    with open(f"/sys/class/bdi/{os.major(number)}:{os.minor(number)}/read_ahead_kb", encoding="ascii") as read_ahead:
        assert read_ahead.read() == "4096\n"
