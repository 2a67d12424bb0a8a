"""What tests of the disk cache share: versions whose bytes are known, and what a directory takes on disk."""

import contextlib
import os
import random
import subprocess
from pathlib import Path

import pytest

from mountd.cache.disk.disk_cache import DiskCache, Piece
from mountd.cache.disk.room import CacheLimits
from mountd.cache.version import ObjectVersion
from mountd.units import ByteRange, ETag

STORE = "blob http://127.0.0.1/account/container"


def version_of(key, size, number=1):
    """Return the `number`-th version of an object of `size` bytes."""
    return ObjectVersion(key, ETag(f'"{number}"'), size)


def whole(version):
    """Return the range of all that `version` has."""
    return ByteRange(0, version.size)


def bytes_of(version, start=0, stop=None):
    """Return the bytes that `version` has, which no other version has."""
    stop = version.size if stop is None else stop
    cell = 4096
    first, last = start // cell, -(-stop // cell)
    data = b"".join(random.Random(f"{version}{index}").randbytes(cell) for index in range(first, last))
    return memoryview(data)[start - first * cell : stop - first * cell]


def piece_of(version, start=0, stop=None, *, pinned=False):
    """Return a piece with the right bytes."""
    return Piece(version, start, bytes_of(version, start, stop), pinned)


def open_cache(directory, *, size="1GB", reserve=0, store=STORE, prefix="", opened=True, **limits):
    """Open a cache that takes what the disk has, unless told otherwise."""
    limits = CacheLimits(size=size, reserve=reserve, **limits)
    return DiskCache(directory, lambda key: (store, prefix + key), limits, opened=opened)


def read(cache, version, wanted):
    """Return the bytes of `wanted`; None: not all of them are here."""
    held = cache.find(version, wanted)
    return None if held is None else cache.read(held)


def taken(directory):
    """Return what a directory takes on disk, as `du` counts; files may vanish meanwhile."""
    total = 0
    for parent, _, names in os.walk(directory):
        for path in [Path(parent), *(Path(parent, name) for name in names)]:
            with contextlib.suppress(FileNotFoundError):
                total += path.lstat().st_blocks * 512
    return total


def files_of(directory):
    """Return the files of cached objects."""
    return [path for path in Path(directory, "objects").rglob("*") if path.is_file()]


class SmallDisk:
    """A file system of its own in memory: full when it is full, and its use is one number of one moment."""

    def __init__(self, path):
        self.path = path

    def used(self):
        """Return the bytes in use now; unlike a walk over files, no mixture of moments."""
        found = os.statvfs(self.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def free(self):
        """Return the bytes that are free now."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def remounted(self, options):
        """Change its options: `ro`, `rw`, `size=…`; return whether it was not in use."""
        return subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=False).returncode == 0


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory):
    """Keep what tests mount without more words out of the machine's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOUNTD_CACHE_DIR", str(tmp_path_factory.mktemp("node") / "cache"))
        yield


@pytest.fixture
def small_disk(tmp_path):
    """Make file systems of given options, such as `size=32m,nr_inodes=500`."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    with contextlib.ExitStack() as stack:

        def make(options):
            path = tmp_path / "disk"
            path.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
            stack.callback(subprocess.run, ["umount", "-l", str(path)], check=True)
            return SmallDisk(path)

        yield make
