"""How much of the disk the cache may take: settings as written, the file system as it is, and the sums between them.

Pure but for `measure`. Everything is in bytes, but for inodes.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mountd.units import GIB, parse_size

NO_CEILING = 1 << 62
_INODE_SHARE = 20
"""One in so many of the file system's inodes is left alone."""


class Space(NamedTuple):
    """What a file system has for this user."""

    block: int
    """Bytes per block: what the smallest file takes."""
    free: int
    free_inodes: int | None
    """None: the file system makes them as needed."""
    inodes: int

    @property
    def most_objects(self) -> int:
        """How many objects a cache may have that takes what is free now."""
        return NO_CEILING if self.free_inodes is None else self.free_inodes * 8 // 10


def measure(directory: Path) -> Space:
    """Return the space of the file system that holds `directory`."""
    found = os.statvfs(directory)
    return Space(
        block=found.f_frsize,
        free=found.f_bavail * found.f_frsize,
        free_inodes=found.f_favail if found.f_files else None,
        inodes=found.f_files,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLimits:
    """What one mount asks of the cache; of all mounts that live, the smallest ceiling and the largest reserve hold."""

    size: str = "80%"
    """`10GB` in all, `-20GB` leaves so much free, `80%` of what was free while the cache was empty."""
    reserve: int = 1 * GIB
    """Bytes of the disk that are never used."""
    prune_threshold: float = 1.0
    """Part of the ceiling from which on space is made."""
    prune_target: float = 0.95
    """Part of the ceiling that is left in use when space is made."""

    def ceiling(self, first_free: int) -> int:
        """Return the most bytes the cache may take; `first_free` is what was free while it was empty."""
        if self.size.endswith("%"):
            return first_free * int(self.size[:-1]) // 100
        return NO_CEILING if self.size.startswith("-") else parse_size(self.size)

    def kept_free(self) -> int:
        """Return the bytes of the disk that are to stay free."""
        return max(self.reserve, parse_size(self.size[1:])) if self.size.startswith("-") else self.reserve


def spared_inodes(space: Space) -> int:
    """Return how many inodes stay free."""
    return space.inodes // _INODE_SHARE


def rounded(count: int, block: int) -> int:
    """Return `count` bytes in whole blocks."""
    return count + -count % block
