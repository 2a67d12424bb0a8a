"""The bytes of one object version that are here or on their way, as extents that never overlap.

An extent is a byte range fetched in one request. It is *pending* until its bytes are there, then *held*, and leaves the
map when it is evicted or its fetch failed. Pure bookkeeping: no I/O, no budget.
"""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Callable

import trio

from mountd.cache.coverage import Coverage
from mountd.units import MIB, ByteRange

_log = logging.getLogger(__name__)

START = 1 * MIB
"""The start of an object: so much of it `open` brings. Whoever reads its end first comes for the rest of it later."""


class Extent:
    """One range of one object version.

    `pins` counts readers that wait for this very extent: a pinned extent is not evicted. A reader never waits for
    memory while it holds a pin, so pins cannot dead-lock the budget.
    """

    __slots__ = (
        *("_awaited", "_over", "charged", "data", "early", "error", "pins"),
        *("seen", "spent", "start", "stop", "told"),
    )

    def __init__(self, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.data: memoryview | None = None
        self.error: Exception | None = None
        self._awaited: trio.Event | None = None
        """Made by the first who waits: of small files mostly nobody does."""
        self._over = False
        self.told: list[Callable[[], None]] = []
        """Called when it is no longer pending, held or failed, before anybody who waits for that goes on."""
        self.pins = 0
        self.charged = 0
        self.early = False
        """It is fetched for nobody yet."""
        self.seen: Coverage | None = None
        """What was delivered of it, where that is only a part."""
        self.spent = False
        """It is the first to go: it was delivered and the kernel has it, or nobody has its file open."""

    def delivered(self, start: int, stop: int) -> bool:
        """The bytes [start, stop) of it are delivered; return whether nobody is expected to come for it any more.

        At the start of an object that takes all of its bytes; elsewhere the last one, for readers that skip some do
        not come back.
        """
        if self.stop > START or (start <= self.start and self.stop <= stop):
            return self.stop <= stop
        if self.seen is None:
            self.seen = Coverage(self.start, self.stop)
        return self.seen.cover(start, stop)

    async def wait(self) -> None:
        """Wait until it is no longer pending."""
        if self._over:
            return
        if self._awaited is None:
            self._awaited = trio.Event()
        await self._awaited.wait()

    def end(self) -> None:
        """It is held, or its fetch failed: say so."""
        self._over = True
        if self._awaited is not None:
            self._awaited.set()
        told, self.told = self.told, []
        for tell in told:
            try:
                tell()
            except Exception:  # noqa: BLE001 - a defect of ours: it is nobody else's trouble
                _log.exception("a call was not taken")

    @property
    def range(self) -> ByteRange:
        """The bytes it stands for."""
        return ByteRange(self.start, self.stop)


class ExtentMap:
    """The extents of one object version, by offset."""

    __slots__ = ("_extents", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._extents: list[Extent] = []

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, offset: int) -> Extent | None:
        """Return the extent that holds the byte at `offset`, pending or held."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0:
            return None
        extent = self._extents[index]
        return extent if offset < extent.stop else None

    def within(self, start: int, stop: int) -> list[Extent]:
        """Return the extents that hold bytes of [start, stop), pending or held, in order."""
        if start >= stop:
            return []
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._extents[first].stop <= start:
            first += 1
        return self._extents[first : bisect_left(self._starts, stop)]

    def gaps(self, start: int, stop: int) -> list[ByteRange]:
        """Return the parts of [start, stop) that no extent covers, in order."""
        if not self._starts:
            return [ByteRange(start, stop)] if start < stop else []
        found: list[ByteRange] = []
        index = max(bisect_right(self._starts, start) - 1, 0)
        position = start
        while position < stop and index < len(self._starts):
            extent = self._extents[index]
            if extent.start >= stop:
                break
            if extent.start > position:
                found.append(ByteRange(position, extent.start))
            position = max(position, extent.stop)
            index += 1
        if position < stop:
            found.append(ByteRange(position, stop))
        return found

    def add(self, start: int, stop: int) -> Extent:
        """Add a pending extent; the range must be a gap."""
        extent = Extent(start, stop)
        index = bisect_left(self._starts, start)
        self._starts.insert(index, start)
        self._extents.insert(index, extent)
        return extent

    def remove(self, extent: Extent) -> None:
        """Take an extent out of the map."""
        index = bisect_left(self._starts, extent.start)
        assert self._extents[index] is extent, "only extents of this map are removed, once"
        del self._starts[index]
        del self._extents[index]

    def holds(self, start: int, stop: int) -> bool:
        """Whether every byte of [start, stop) is held, none pending."""
        position = start
        while position < stop:
            extent = self.at(position)
            if extent is None or extent.data is None:
                return False
            position = extent.stop
        return True
