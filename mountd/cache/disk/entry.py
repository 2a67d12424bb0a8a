"""What the index knows of one object version, packed into one small `bytes`: there may be a million of them.

An entry is the object's size, the bytes of disk that its file takes, whether it is pinned, how many cells are here,
and its runs. A *cell* is 64 KiB of an object (the last one may be shorter). A *run* is cells that were written
together, with their checksum, which takes reading all of it: a random reader pays for that. It lies within one
megabyte of the object, so that those that cover a range are found quickly.
Runs are sorted by where they start and may overlap. Offsets and sizes are bytes; stops are not included.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

from mountd.units import KIB, MIB, ByteRange

CELL = 64 * KIB
RUN = 256 * KIB
"""What is written is cut into runs at multiples of this: 12 bytes of memory for each, 48 MiB for a TiB. With runs of a
MiB random reads of 4 KiB take two to three times as long, with 128 KiB they are hardly quicker."""
REGION = 1 * MIB
"""No run crosses a multiple of this; what former versions wrote is as long."""

_HEAD = struct.Struct("<QIIB")  # size; disk, low part; cells here; disk, high part, and the pin
_RUN = struct.Struct("<III")  # first cell, bytes, checksum
_DISK_UNIT = 512
_PINNED = 0x80


class Run(NamedTuple):
    """Bytes [start, stop) of an object that are in its file."""

    start: int
    stop: int
    checksum: int
    """32 bits of XXH3 of them; what disks do to bytes is no attack."""


def new(size: int) -> bytes:
    """Return the entry of an object of `size` bytes nothing of which is here."""
    return _HEAD.pack(size, 0, 0, 0)


def size_of(entry: bytes) -> int:
    """Return the object's size."""
    return int.from_bytes(entry[:8], "little")


def disk_of(entry: bytes) -> int:
    """Return the bytes of disk that the file takes."""
    low, high = int.from_bytes(entry[8:12], "little"), entry[_HEAD.size - 1]
    return (low | (high & ~_PINNED) << 32) * _DISK_UNIT


def is_pinned(entry: bytes) -> bool:
    """Whether the object stays whatever room is needed for."""
    return bool(entry[_HEAD.size - 1] & _PINNED)


def is_complete(entry: bytes) -> bool:
    """Whether all of the object is here."""
    size, _, cells, _ = _HEAD.unpack_from(entry)
    return bool(cells * CELL >= size)


def is_empty(entry: bytes) -> bool:
    """Whether nothing of the object is here."""
    return len(entry) == _HEAD.size


def count_runs(entry: bytes) -> int:
    """Return the number of runs."""
    return (len(entry) - _HEAD.size) // _RUN.size


def runs_of(entry: bytes) -> list[Run]:
    """Return all runs."""
    return _unpack(entry, 0, count_runs(entry))


def with_disk(entry: bytes, disk: int) -> bytes:
    """Return the entry with another `disk`, rounded up to 512 bytes."""
    size, _, cells, high = _HEAD.unpack_from(entry)
    units = -(-disk // _DISK_UNIT)
    return _HEAD.pack(size, units & 0xFFFFFFFF, cells, units >> 32 | high & _PINNED) + entry[_HEAD.size :]


def with_pin(entry: bytes) -> bytes:
    """Return the entry, pinned."""
    return entry[: _HEAD.size - 1] + bytes((entry[_HEAD.size - 1] | _PINNED,)) + entry[_HEAD.size :]


def with_runs(entry: bytes, added: list[Run]) -> bytes:
    """Return the entry with more runs, neighbours of each other; older ones inside of them go."""
    if not added:
        return entry
    first, last = _around(entry, added[0].start, added[-1].stop)
    old = _unpack(entry, first, last)
    kept = [run for run in old if not any(one.start <= run.start and run.stop <= one.stop for one in added)]
    return _spliced(entry, first, last, old, sorted(kept + added))


def without_run(entry: bytes, gone: Run) -> bytes:
    """Return the entry without one of its runs."""
    first, last = _around(entry, gone.start, gone.stop)
    old = _unpack(entry, first, last)
    return _spliced(entry, first, last, old, [run for run in old if run != gone])


def cover(entry: bytes, start: int, stop: int) -> list[Run] | None:
    """Return runs, by offset, that cover [start, stop) together; None if there are none."""
    runs = _unpack(entry, *_around(entry, start, stop))
    chosen: list[Run] = []
    position, index = start, 0
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


def gaps(entry: bytes) -> list[ByteRange]:
    """Return what is missing of the object."""
    position, missing = 0, []
    for run in runs_of(entry):
        if run.start > position:
            missing.append(ByteRange(position, run.start))
        position = max(position, run.stop)
    size = size_of(entry)
    if position < size:
        missing.append(ByteRange(position, size))
    return missing


def packed(runs: Iterable[Run]) -> bytes:
    """Return runs as they are in an entry."""
    return b"".join(_RUN.pack(run.start // CELL, run.stop - run.start, run.checksum) for run in runs)


def unpacked(data: bytes) -> list[Run]:
    """Return what `packed` packed."""
    return [Run(cell * CELL, cell * CELL + length, checksum) for cell, length, checksum in _RUN.iter_unpack(data)]


def _unpack(entry: bytes, first: int, last: int) -> list[Run]:
    return unpacked(entry[_HEAD.size + first * _RUN.size : _HEAD.size + last * _RUN.size])


def _around(entry: bytes, start: int, stop: int) -> tuple[int, int]:
    """Return which runs lie in the megabytes that [start, stop) touches."""
    return _bisect(entry, start // REGION * REGION), _bisect(entry, -(-stop // REGION) * REGION)


def _bisect(entry: bytes, offset: int) -> int:
    """Return the number of runs that start before `offset`."""
    cell, low, high = offset // CELL, 0, count_runs(entry)
    while low < high:
        middle = (low + high) // 2
        at = _HEAD.size + middle * _RUN.size
        if int.from_bytes(entry[at : at + 4], "little") < cell:
            low = middle + 1
        else:
            high = middle
    return low


def _spliced(entry: bytes, first: int, last: int, old: list[Run], new_runs: list[Run]) -> bytes:
    size, low, cells, high = _HEAD.unpack_from(entry)
    head = _HEAD.pack(size, low, cells + _count_cells(new_runs) - _count_cells(old), high)
    before = entry[_HEAD.size : _HEAD.size + first * _RUN.size]
    return b"".join((head, before, packed(new_runs), entry[_HEAD.size + last * _RUN.size :]))


def _count_cells(runs: list[Run]) -> int:
    count, position = 0, 0
    for run in runs:
        start = max(position, run.start)
        if run.stop > start:
            count += -(-(run.stop - start) // CELL)
            position = run.stop
    return count
