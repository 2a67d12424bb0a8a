"""What tests of the disk cache share: versions whose bytes are known, and what a directory takes on disk."""

import os
import random
from pathlib import Path

from mountd.cache.disk.disk_cache import DiskCache, Piece
from mountd.cache.disk.room import CacheLimits
from mountd.cache.version import ObjectVersion
from mountd.units import ETag

STORE = "blob http://127.0.0.1/account/container"


def version_of(key, size, number=1):
    """Return the `number`-th version of an object of `size` bytes."""
    return ObjectVersion(key, ETag(f'"{number}"'), size)


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


def open_cache(directory, *, size="1GB", reserve=0, store=STORE, **limits):
    """Open a cache that takes what the disk has, unless told otherwise."""
    return DiskCache(directory, store, CacheLimits(size=size, reserve=reserve, **limits))


def taken(directory):
    """Return what a directory takes on disk, as `du` counts; files may vanish meanwhile."""
    total = 0
    for parent, _, names in os.walk(directory):
        for path in [Path(parent), *(Path(parent, name) for name in names)]:
            try:
                total += path.lstat().st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def files_of(directory):
    """Return the files of cached objects."""
    return [path for path in Path(directory, "objects").rglob("*") if path.is_file()]
