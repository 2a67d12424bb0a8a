"""When to fetch how much ahead of a reader: a pure state machine, one for each object version.

It sees reads and says what to fetch; it does no I/O and keeps no time. Readers are told apart by where they read, not
by handle: forked loader processes share one handle, and one process may walk a file in several places.

- A read that continues no stream starts one, and fetches what was asked for on a grid of 64 KiB, no more: it may be
  random, and a random reader pays for every byte. Only a long read at offset 0 is taken for the start of a scan.
- A read that continues a stream makes it sequential: a window of bytes ahead of the reader is kept in flight. Two
  random reads may lie side by side by chance, so the first window is a small multiple of what was read in a row.
- The window grows when the reader stalls, at most once per quarter of a window consumed (several requests of one
  kernel read-ahead stall together and count once), and halves under memory pressure. The first stall after the first
  window was opened makes it four times as large, each later one twice: a reader that has come so far is no look at a
  header, and every step on the way costs it one request's time.
- The kernel sends the requests of one stream slightly out of order, and leaves out what its page cache has: a
  sequential stream accepts reads a little off its position, as long as it skipped less than was read. Otherwise random
  reads that fall into a window would push it through the whole file.
"""

from dataclasses import dataclass
from typing import NamedTuple

from mountd.units import KIB, MIB, ByteRange

GRID = 64 * KIB
"""Extents start on multiples of this and end on one or at the object's end."""
SLACK = 4 * MIB
"""How far off its position a sequential stream accepts a read, at most."""
FIRST_FACTOR = 4
"""The first window of a stream, in multiples of what was read in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLimits:
    """Sizes in bytes."""

    first: int = 8 * MIB
    """The window once a reader is known to be sequential, at most; it grows from there."""
    largest: int = 64 * MIB
    """Sixteen parts of 4 MiB in flight: 60 MB/s on each of their connections is about what one loop can pass on. Larger
    ones only move bytes out of the processor's caches, and take memory."""
    part_smallest: int = 1 * MIB
    part_largest: int = 4 * MIB
    scan_start: int = 128 * KIB
    """A read of this length at offset 0 starts a scan: the kernel asks for so much only if the program asked for a
    quarter of it or more."""
    streams: int = 32
    """Streams told apart in one object; the least recently used one makes room."""


class Plan(NamedTuple):
    """What to fetch."""

    demand: ByteRange
    """Covers the read; to be fetched first if missing."""
    ahead: ByteRange | None
    """To be fetched after it, in parts."""
    part: int
    """Length of the parts of `ahead`; they lie on multiples of it."""


class _Stream:
    __slots__ = ("frontier", "grow_at", "position", "read", "skipped", "used", "window")

    def __init__(self, start: int, position: int, used: int) -> None:
        self.read = position - start
        """Bytes read in this stream."""
        self.skipped = 0
        """Bytes that the reader jumped over and did not come back for."""
        self.position = position
        """The end of the furthest read."""
        self.frontier = position
        """Up to here was fetched or is being fetched."""
        self.window = 0
        """0 until a second read shows that the reader is sequential."""
        self.grow_at = 0
        self.used = used


class ReadAhead:
    """The streams of one object of `size` bytes."""

    __slots__ = ("_limits", "_size", "_streams", "_tick")

    def __init__(self, size: int, limits: WindowLimits) -> None:
        self._size = size
        self._limits = limits
        self._streams: list[_Stream] = []
        self._tick = 0

    def observe(self, start: int, stop: int, *, stalled: bool) -> Plan:
        """Take note of a read of [start, stop), which lies within the object, and say what to fetch.

        `stalled` means that the read has to wait.
        """
        self._tick += 1
        limits = self._limits
        demand = self._on_grid(start, stop)
        stream = self._find(start)
        if stream is None:
            stream = self._add(start, stop)
            if start > 0 or stop - start < limits.scan_start:
                return Plan(demand, None, 0)
            stream.window = limits.first
        else:
            late = start < stream.position
            stream.skipped = max(0, stream.skipped + (start - stop if late else start - stream.position))
            stream.read += stop - start
            if stream.window == 0:
                stream.window = min(limits.first, max(limits.part_smallest, FIRST_FACTOR * stream.read))
            elif stalled and stop >= stream.grow_at:
                stream.window = min(limits.largest, stream.window * (4 if stream.window == limits.first else 2))
                stream.grow_at = max(stream.position, stop) + stream.window // 4
        stream.used = self._tick
        stream.position = max(stream.position, stop)
        stream.frontier = max(stream.frontier, demand.stop)
        return Plan(demand, *self._ahead(stream))

    def shrink(self) -> None:
        """Memory is short: halve every window."""
        for stream in self._streams:
            if stream.window > self._limits.part_smallest:
                stream.window //= 2

    @property
    def windows(self) -> list[int]:
        """The windows of all streams, in bytes; 0 stands for one that is not known to be sequential."""
        return [stream.window for stream in self._streams]

    def _ahead(self, stream: _Stream) -> tuple[ByteRange | None, int]:
        limits = self._limits
        part = min(limits.part_largest, max(limits.part_smallest, stream.window // 8))
        part = 1 << (part.bit_length() - 1)  # parts lie on multiples of their length
        target = min(self._size, stream.position + stream.window)
        if target < self._size:
            target -= target % part
        if target <= stream.frontier:
            return None, part
        ahead = ByteRange(stream.frontier, target)
        stream.frontier = target
        return ahead, part

    def refused(self, offset: int) -> None:
        """The owner could not fetch ahead from `offset` on: ask again from there, with a smaller window."""
        for stream in self._streams:
            if stream.frontier > offset >= stream.position - stream.window:
                stream.frontier = max(stream.position, offset)
        self.shrink()

    def _on_grid(self, start: int, stop: int) -> ByteRange:
        return ByteRange(start - start % GRID, min(self._size, stop + (-stop % GRID)))

    def _find(self, start: int) -> _Stream | None:
        best: _Stream | None = None
        for stream in self._streams:
            behind = SLACK if stream.window else 0
            beyond = max(GRID - 1, min(SLACK, stream.window, stream.read - stream.skipped))
            near = stream.position - behind <= start <= stream.position + beyond
            if near and (best is None or abs(stream.position - start) < abs(best.position - start)):
                best = stream
        return best

    def _add(self, start: int, position: int) -> _Stream:
        if len(self._streams) >= self._limits.streams:
            self._streams.remove(min(self._streams, key=lambda stream: stream.used))
        stream = _Stream(start, position, self._tick)
        self._streams.append(stream)
        return stream
