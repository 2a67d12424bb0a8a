"""The memory tier: bytes of object versions, fetched once, shared by all readers, within one budget.

- One fetch at a time for any byte (single-flight by extent); a cancelled reader cancels nothing that others wait for,
  because fetches run in the owner's nursery.
- Every byte held or on its way is charged to the budget before its request is sent.
- Fetches for waiting readers may evict anything not pinned; fetching ahead evicts only what is spent: bytes that were
  delivered, and those that the last user of their object left behind.
- What to evict first is said in `kept`. What was fetched for nobody yet evicts nothing of its kind, or it would be
  fetched over and over: it has a share of the budget, and is left behind when nobody came for it.
- Only the last few delivered ones are kept at all: the kernel's page cache has them, and a buffer that is used again at
  once costs no page faults (a cold sequential read gains a third, small files a fifth).

No lock: all state is touched by the trio loop only, between checkpoints marked "no await" where it matters.
"""

import logging
from functools import partial
from itertools import islice

import trio

from mountd.aio.abreast import Abreast
from mountd.cache.budget import Budget
from mountd.cache.cached_object import CachedObject
from mountd.cache.extents import Extent
from mountd.cache.kept import EARLY_S, Kept
from mountd.cache.readahead import WindowLimits
from mountd.cache.version import BeginFetch, Fetch, FetchDone, ObjectVersion, never
from mountd.errors import ChangedError, CorruptError, MountdError, NotFoundError, UnavailableError
from mountd.units import KIB, MIB, ByteRange

_log = logging.getLogger(__name__)

EARLY_SHARE = 4
"""The part of the budget that may hold, or wait for, what nobody has open yet: a fourth."""
IN_TURN = 4
"""Parts of a read-ahead that are asked for in their order."""
SMALLEST_CHARGE = 4 * KIB
"""What the smallest extent counts for: its Python objects are not free either."""


class CacheCounters:
    """Counts since the start."""

    __slots__ = ("bytes_fetched", "hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.bytes_fetched = 0


class BlockCache:
    """The memory tier of one mount.

    Args:
        fetch: brings bytes of a version.
        nursery: owns the fetches; when it closes, waiting readers get an error.
        limit_bytes: the budget.
        limits: sizes of windows and parts; cut down so that several parts fit the budget.
        begin: starts to fetch without a task, where it can.
    """

    def __init__(
        self,
        fetch: Fetch,
        nursery: trio.Nursery,
        *,
        limit_bytes: int,
        limits: WindowLimits | None = None,
        begin: BeginFetch = never,
    ) -> None:
        limits = limits or WindowLimits()
        self._limits = WindowLimits(
            first=min(limits.first, max(limit_bytes // 8, SMALLEST_CHARGE)),
            largest=min(limits.largest, max(limit_bytes // 2, SMALLEST_CHARGE)),
            part_smallest=min(limits.part_smallest, max(limit_bytes // 16, SMALLEST_CHARGE)),
            part_largest=min(limits.part_largest, max(limit_bytes // 16, SMALLEST_CHARGE)),
            scan_start=limits.scan_start,
            streams=limits.streams,
        )
        # A demand is fetched in pieces of this size, so that one is always grantable.
        self._demand_piece = max(min(MIB, limit_bytes // 4), SMALLEST_CHARGE)
        self._fetch = fetch
        self._begin = begin
        self._nursery = nursery
        self.budget = Budget(limit_bytes, self._reclaim)
        self.counters = CacheCounters()
        self._objects: dict[ObjectVersion, CachedObject] = {}
        self._kept = Kept(self._forget_if_empty)

    @property
    def evicted_unread(self) -> int:
        """Extents that went before they were delivered, since the start."""
        return self._kept.evicted_unread

    def acquire(self, version: ObjectVersion) -> CachedObject:
        """Return the object of `version`; pair with `release`."""
        found = self._objects.get(version)
        if found is None:
            found = self._objects[version] = CachedObject(version, self._limits)
        found.users += 1
        if found.early_until is not None:
            self._kept.claim(found)
        return found

    def release(self, found: CachedObject) -> None:
        """End one use of `found`; its bytes stay until their memory is needed."""
        found.users -= 1
        if found.users == 0:
            self._kept.leave(found)
        self._forget_if_empty(found)

    def read_nowait(self, found: CachedObject, start: int, stop: int) -> memoryview | None:
        """Return the bytes [start, stop), which lie within the object, if they are held; else start fetching them.

        Takes note of the read and starts fetching ahead of it. None means: `collect` them, which will wait.
        """
        extent = found.extents.at(start)
        data = None
        if extent is not None and extent.data is not None and stop <= extent.stop:
            data = extent.data[start - extent.start : stop - extent.start]
            self._touch(found, extent, start, stop)
            if extent.stop - extent.start == found.version.size:  # there is nothing ahead
                self.counters.hits += 1
                return data
        held = data is not None or found.extents.holds(start, stop)
        plan = found.readahead.observe(start, stop, stalled=not held)
        if held:
            self.counters.hits += 1
        else:
            self.counters.misses += 1
            self._want(found, plan.demand)
        if plan.ahead is not None and not found.changed:
            self._fetch_ahead(found, plan.ahead, plan.part)
        return data

    async def collect(self, found: CachedObject, start: int, stop: int) -> memoryview:
        """Return the bytes [start, stop) once all of them are here.

        Raises:
            ChangedError, NotFoundError: the version is gone from the store and not all of these bytes are held.
            MountdError: the fetch failed for good.
        """
        joined: memoryview | None = None
        position = start
        while position < stop:
            extent = found.extents.at(position)
            if extent is None:
                # Evicted while an earlier piece was on its way. Memory is short: not more than the next piece, or the
                # pieces of large reads evict each other over and over.
                self._want(found, ByteRange(position, min(stop, position + self._demand_piece)))
                continue
            await self._arrival(extent)
            # no await: the extent cannot be evicted between its arrival and this copy
            assert extent.data is not None, "an arrival without an error has bytes"
            upto = min(stop, extent.stop)
            piece = extent.data[position - extent.start : upto - extent.start]
            self._touch(found, extent, position, upto)
            self.budget.retry_reclaim()  # the pin is gone: somebody may be waiting for this memory
            if position == start and upto == stop:
                return piece
            if joined is None:
                joined = memoryview(bytearray(stop - start))
            joined[position - start : upto - start] = piece
            position = upto
        assert joined is not None, "reads are not empty"
        return joined

    async def read(self, found: CachedObject, start: int, stop: int) -> memoryview:
        """Return the bytes [start, stop), which lie within the object; errors as in `collect`."""
        data = self.read_nowait(found, start, stop)
        return await self.collect(found, start, stop) if data is None else data

    def begin(self, found: CachedObject, start: int, stop: int) -> bool:
        """Start fetching what is missing of [start, stop); return whether all of it is here."""
        if found.extents.holds(start, stop):
            return True
        self._want(found, ByteRange(start, stop))
        return False

    def pending(self, found: CachedObject, start: int, stop: int) -> Extent | None:
        """Return the extent that brings all of [start, stop) and is on its way; None: there is no such one."""
        extent = found.extents.at(start)
        return extent if extent is not None and extent.data is None and stop <= extent.stop else None

    async def warm(self, found: CachedObject, start: int, stop: int) -> None:
        """Bring [start, stop) into memory; errors as in `read`. Does not count as a read.

        Where memory is short the first of it may be evicted before the last is here; the read fetches it again.
        """
        self._want(found, ByteRange(start, stop))
        for extent in found.extents.within(start, stop):
            try:
                await self._arrival(extent)
            except MountdError as error:
                if not extent.early or isinstance(error, ChangedError | NotFoundError):
                    raise
                # Its time to try began before this reader came, who has all of it for himself.
                self._want(found, extent.range)
                for again in found.extents.within(*extent.range):
                    await self._arrival(again)
            self.budget.retry_reclaim()  # as in `collect`

    def fetch_whole(self, version: ObjectVersion, abreast: Abreast) -> bool:
        """Start fetching all of a version that somebody may acquire soon; False: there is no memory for it now.

        Does nothing if it is in use, here or on its way. Counts in `abreast` while it is on its way. Until it is
        acquired, it may be evicted for readers, and is left behind after `EARLY_S`.
        """
        if version in self._objects:
            return True
        self._kept.leave_late()
        charge = max(version.size, SMALLEST_CHARGE)
        if self._kept.early_bytes + charge > self.budget.limit // EARLY_SHARE or not self.budget.try_charge(charge):
            return False
        found = self._objects[version] = CachedObject(version, self._limits)
        found.early_until = trio.current_time() + EARLY_S
        extent = found.extents.add(0, version.size)
        extent.charged = charge
        extent.early = True
        self._kept.early_bytes += charge
        began = abreast.begin()

        def came(data: memoryview | None) -> None:
            if data is None:
                self._nursery.start_soon(self._fill_early, found, extent, charge, abreast, began)
            else:
                abreast.end(began)
                self._came(found, extent, data)

        if not self._is_begun(version, extent, came):
            self._nursery.start_soon(self._fill_early, found, extent, charge, abreast, began)
        return True

    # ---- fetching

    def _want(self, found: CachedObject, wanted: ByteRange) -> None:
        """Start fetching what is missing of `wanted` for a reader that waits."""
        for gap in found.extents.gaps(*wanted):
            start = gap.start
            while start < gap.stop:
                stop = min(gap.stop, start + self._demand_piece)
                extent = found.extents.add(start, stop)
                charge = max(stop - start, SMALLEST_CHARGE)
                charged = self.budget.try_charge(charge)
                extent.charged = charge if charged else 0
                came = partial(self._came, found, extent)
                if not charged or not self._is_begun(found.version, extent, came):
                    self._nursery.start_soon(self._fill, found, extent, charge)
                start = stop

    def _fetch_ahead(self, found: CachedObject, ahead: ByteRange, part: int) -> None:
        parts = self._parts_ahead(found, ahead, part)
        if len(parts) == 1:
            self._nursery.start_soon(self._fill, found, *parts[0])
        elif parts:
            self._nursery.start_soon(self._fill_in_turn, found, parts)

    def _parts_ahead(self, found: CachedObject, ahead: ByteRange, part: int) -> list[tuple[Extent, int]]:
        """Add extents for what is missing of `ahead`, as far as there is memory, and return them with their charge."""
        parts: list[tuple[Extent, int]] = []
        for gap in found.extents.gaps(*ahead):
            start = gap.start
            while start < gap.stop:
                stop = min(gap.stop, start - start % part + part)
                charge = max(stop - start, SMALLEST_CHARGE)
                if not self.budget.try_charge(charge):
                    found.readahead.refused(start)
                    return parts
                extent = found.extents.add(start, stop)
                extent.charged = charge
                parts.append((extent, charge))
                start = stop
        return parts

    async def _fill_in_turn(self, found: CachedObject, parts: list[tuple[Extent, int]]) -> None:
        """Fetch `parts` and ask for the nearest first, each in a turn of its own: trio runs those of one in any order.

        The further ones together: turns may be long.
        """
        coming = iter(parts)
        try:
            for extent, charge in islice(coming, IN_TURN):
                self._nursery.start_soon(self._fill, found, extent, charge)
                await trio.lowlevel.checkpoint()
        finally:
            for extent, charge in coming:  # if the mount is ending, they say so to whoever waits for them
                self._nursery.start_soon(self._fill, found, extent, charge)

    async def _fill_early(
        self, found: CachedObject, extent: Extent, charge: int, abreast: Abreast, began: float
    ) -> None:
        try:
            await self._fill(found, extent, charge)
        finally:
            abreast.end(began)

    async def _fill(self, found: CachedObject, extent: Extent, charge: int) -> None:
        try:
            if not extent.charged:
                await self.budget.charge(charge)
                extent.charged = charge
            data = await self._fetch(found.version, extent.range)
            if len(data) != extent.stop - extent.start:
                raise CorruptError(
                    f"{found.version.key}: the store sent {len(data)} bytes of {extent.stop - extent.start}"
                )
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the extent
            if isinstance(error, ChangedError | NotFoundError):
                found.changed = True
            self._fail(found, extent, error)
        except BaseException:
            self._fail(found, extent, UnavailableError(f"{found.version.key}: the mount is ending"))
            raise
        else:
            self._arrived(found, extent, data)

    def _is_begun(self, version: ObjectVersion, extent: Extent, came: FetchDone) -> bool:
        """Start to fetch an extent without a task; False: a task has to."""
        try:
            return self._begin(version, extent.range, came)
        except Exception:  # noqa: BLE001 - an extent that nobody fetches would be waited for
            _log.exception("a fetch could not be begun")
            return False

    def _came(self, found: CachedObject, extent: Extent, data: memoryview | None) -> None:
        """A fetch without a task is over; what it did not bring, the ordinary one does, or says why not."""
        if data is not None and len(data) == extent.stop - extent.start:
            self._arrived(found, extent, data)
        else:
            self._nursery.start_soon(self._fill, found, extent, extent.charged)

    def _arrived(self, found: CachedObject, extent: Extent, data: memoryview) -> None:
        """The bytes are held, findable and evictable from here on."""
        self.counters.bytes_fetched += len(data)
        extent.data = data
        self._kept.arrived(found, extent)
        extent.end()
        self.budget.retry_reclaim()

    def _fail(self, found: CachedObject, extent: Extent, error: Exception) -> None:
        extent.error = error
        found.extents.remove(extent)
        extent.end()
        if extent.charged:
            charged, extent.charged = extent.charged, 0
            if found.early_until is not None:
                self._kept.early_bytes -= charged
            self.budget.release(charged)
        self._forget_if_empty(found)

    async def _arrival(self, extent: Extent) -> None:
        if extent.data is None:
            extent.pins += 1
            try:
                await extent.wait()
            except BaseException:
                extent.pins -= 1
                self.budget.retry_reclaim()  # it may have arrived since, and been spared for this reader alone
                raise
            extent.pins -= 1
            if extent.error is not None:
                raise extent.error.with_traceback(None)

    # ---- keeping and giving up

    def _touch(self, found: CachedObject, extent: Extent, start: int, stop: int) -> None:
        """The bytes [start, stop) of `extent` are being delivered."""
        freed = self._kept.touched(found, extent, start, stop)
        if freed:
            self.budget.release(freed)

    def _reclaim(self, missing: int, for_reader: bool) -> int:
        return self._kept.give_up(missing, for_reader=for_reader)

    def _forget_if_empty(self, found: CachedObject) -> None:
        if found.users == 0 and len(found.extents) == 0 and self._objects.get(found.version) is found:
            del self._objects[found.version]
