"""Reads from the disk for readers who wait: the bytes, or nothing, and never for long.

A reader waits for a disk that answers nobody for `READ_S` at most; one that answers anybody is only slow. The kernel
does the waiting where it can (`aio.kernel_reads`), threads do it elsewhere. What is read for its checksum's sake alone
is in no budget, so there is a bound for it.
"""

from collections.abc import Callable

import trio

from mountd.aio.kernel_reads import KernelReads, is_local
from mountd.aio.threads import Lane
from mountd.cache.budget import Budget
from mountd.cache.disk.disk_cache import DiskCache
from mountd.cache.disk.files import Held
from mountd.units import MIB

READ_S = 3.0
_READERS = 8
_READS_AT_ONCE = 64
"""Of those that need no thread."""
MOST_UNASKED = 16 * MIB
"""Memory of all reads that read more than they were asked for, at most: a few KiB may cost two runs."""


class DiskReads:
    """Those of one tier.

    Args:
        cache: the disk cache.
        trouble: is told what is wrong with the disk.
        unasked_bytes: memory of all reads that read more than they were asked for; one always may.
    """

    def __init__(self, cache: DiskCache, trouble: Callable[[Exception], None], unasked_bytes: int) -> None:
        self._cache = cache
        self._trouble = trouble
        self._kernel_reads = KernelReads(_READS_AT_ONCE)
        self._waiting: set[trio.CancelScope] = set()
        self._unasked = Budget(unasked_bytes, lambda _missing, _for_reader: 0)
        self.lane = Lane("disk reads", _READERS)

    async def run(self) -> None:
        """Let the kernel do the waiting where the disk allows it, until cancelled."""
        try:
            local = await self.lane.run(is_local, str(self._cache.layout.objects))
        except OSError:
            return
        if local:
            await self._kernel_reads.run()

    async def read(self, held: Held) -> memoryview | None:
        """Return the bytes; None: they are not here, or not right, or the disk does not answer."""
        scope = trio.CancelScope(deadline=trio.current_time() + READ_S)
        self._waiting.add(scope)
        try:
            with scope:
                data = await self._within_bounds(held)
                for other in self._waiting:  # a disk that answers anybody is only slow
                    other.deadline = trio.current_time() + READ_S
                return data
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the disk, the reader gets its bytes
            self._trouble(error)
            return None
        finally:
            self._waiting.discard(scope)
        self._trouble(TimeoutError(f"the disk did not answer within {READ_S:g} s"))
        return None

    async def _within_bounds(self, held: Held) -> memoryview | None:
        count = held.whole.length
        if count == held.wanted.length:
            return await self._bytes_of(held)
        count = min(count, self._unasked.limit)
        await self._unasked.charge(count)
        try:
            return await self._bytes_of(held)
        finally:
            self._unasked.release(count)

    async def _bytes_of(self, held: Held) -> memoryview | None:
        data = await self._kernel_reads.read(held.path, *held.whole)
        if data is not None:
            return self._cache.check(held, data)
        return await self.lane.run(self._cache.read, held)
