"""The values that index, files and cache hand to each other. Offsets and sizes are bytes; stops are not included."""

from typing import NamedTuple

from mountd.cache.disk.accounts import Standing


class Run(NamedTuple):
    """Bytes [start, stop) of an object that are in its file, and their CRC-32."""

    start: int
    stop: int
    crc: int


class Found(NamedTuple):
    """What the cache has of a range that was asked for."""

    row: int
    runs: list[Run]
    """Cover the range without a gap, by offset; they may overlap."""


class Need(NamedTuple):
    """Bytes that somebody wants to write."""

    digest: bytes
    size: int
    """Of the object."""
    start: int
    stop: int
    pinned: bool = False


class Grant(NamedTuple):
    """Room for a `Need`."""

    row: int
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
    owners: int
    """Processes that use the cache."""
    standing: Standing


def cover(runs: list[Run], start: int, stop: int) -> list[Run] | None:
    """Return those of `runs`, by offset, that cover [start, stop) together; None if they do not."""
    chosen: list[Run] = []
    position = start
    index = 0
    while position < stop:
        best: Run | None = None
        while index < len(runs) and runs[index].start <= position:
            if best is None or runs[index].stop > best.stop:
                best = runs[index]
            index += 1
        if best is None or best.stop <= position:
            return None
        chosen.append(best)
        position = best.stop
    return chosen
