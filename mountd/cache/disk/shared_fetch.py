"""Fetches from the store that are under way, so that readers and whoever fills the disk do not fetch the same twice."""

import trio

from mountd.aio.buffers import cut_out
from mountd.cache.version import ObjectVersion
from mountd.units import MIB, ByteRange

WORTH_WAITING = 4
ALWAYS_WAITED_FOR = 1 * MIB


class SharedFetch:
    """One fetch under way."""

    __slots__ = ("_awaited", "_over", "data", "wanted")

    def __init__(self, wanted: ByteRange) -> None:
        self.wanted = wanted
        self._awaited: trio.Event | None = None
        """Made by the first who waits: mostly nobody does."""
        self._over = False
        self.data: memoryview | None = None
        """What came; None: nothing yet, or it failed."""

    async def part(self, wanted: ByteRange) -> memoryview | None:
        """Wait for the end, and return the bytes of `wanted`, which lie within; None: it failed."""
        if not self._over:
            if self._awaited is None:
                self._awaited = trio.Event()
            await self._awaited.wait()
        if self.data is None:
            return None
        return cut_out(self.data, wanted.start - self.wanted.start, wanted.stop - self.wanted.start)

    def end(self, data: memoryview | None) -> None:
        """Hand what came to all who wait."""
        self.data = data
        self._over = True
        if self._awaited is not None:
            self._awaited.set()


class SharedFetches:
    """All that are under way."""

    def __init__(self) -> None:
        self._running: dict[ObjectVersion, list[SharedFetch]] = {}

    def begin(self, version: ObjectVersion, wanted: ByteRange) -> SharedFetch:
        """Take note of a fetch; pair with `end`."""
        fetch = SharedFetch(wanted)
        self._running.setdefault(version, []).append(fetch)
        return fetch

    def end(self, version: ObjectVersion, fetch: SharedFetch, data: memoryview | None) -> None:
        """Hand what came to all who wait; None: it failed."""
        running = self._running[version]
        running.remove(fetch)
        if not running:
            del self._running[version]
        fetch.end(data)

    def find(self, version: ObjectVersion, wanted: ByteRange) -> SharedFetch | None:
        """Return a fetch that brings `wanted`, and not so much more that asking again were quicker."""
        running = self._running.get(version)
        if running is None:
            return None
        longest = max(WORTH_WAITING * wanted.length, ALWAYS_WAITED_FOR)
        for fetch in running:
            if fetch.wanted.start <= wanted.start and wanted.stop <= fetch.wanted.stop:
                return fetch if fetch.wanted.length <= longest else None
        return None
