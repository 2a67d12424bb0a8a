"""The values that index, files and cache hand to each other. Offsets and sizes are bytes; stops are not included."""

from typing import NamedTuple

from mountd.cache.disk.accounts import Standing
from mountd.cache.disk.entry import Run


class Need(NamedTuple):
    """Bytes that somebody wants to write."""

    digest: int
    size: int
    """Of the object."""
    start: int
    stop: int
    pinned: bool = False


class Grant(NamedTuple):
    """Room for a `Need`."""

    need: Need
    reserved: int
    """Bytes of disk; 0: the cache has the bytes already, and nothing is to be written."""
    new: bool
    """An inode is reserved for it: the object has no file yet."""


class Written(NamedTuple):
    """What became of a `Grant`."""

    grant: Grant
    runs: list[Run]
    disk: int
    """Bytes of disk that the file takes now."""


class Totals(NamedTuple):
    """What the cache holds."""

    disk: int
    """Bytes of disk that the objects take."""
    objects: int
    complete: int
    """Objects that are here whole."""
    pinned: int
    """Bytes of disk of pinned objects."""
    wanted_by_others: int
    """Bytes of disk that other processes keep filled, or are about to fill."""
    owners: int
    """Processes that use the cache."""
    standing: Standing
