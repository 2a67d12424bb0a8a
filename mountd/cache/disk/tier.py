"""The disk tier of one mount: a layer around `fetch` that looks on the disk first and keeps there what the store sent.

- A reader never waits for a write. What came from the store goes into a bounded queue, and is dropped when it is full.
- A reader waits for a disk that does nothing for `READ_S` and no longer; a disk in trouble is left out, and comes back
  by itself.
- Whether the disk has something is looked up in memory, so that a miss costs neither a thread nor a file. What other
  processes did is known one round of upkeep later: until then bytes are fetched once more, no harm done.
- Nothing is fetched twice at once, be it for a reader or to fill the disk.
"""

from collections.abc import Callable
from contextlib import suppress

import trio

from mountd.aio.threads import Lane
from mountd.cache.disk.breaker import Breaker
from mountd.cache.disk.counters import TierCounters
from mountd.cache.disk.demand import Demand
from mountd.cache.disk.disk_cache import DiskCache, Piece
from mountd.cache.disk.pace import Pace
from mountd.cache.disk.reads import MOST_UNASKED, DiskReads
from mountd.cache.disk.records import Totals
from mountd.cache.disk.shared_fetch import SharedFetches
from mountd.cache.disk.writer import Writer, is_full
from mountd.cache.version import BeginFetch, Fetch, FetchDone, ObjectVersion, never
from mountd.observe.logs import get_logger
from mountd.units import ByteRange

UPKEEP_EVERY_S = 2.0
UPKEEP_S = 60.0
GIVE_WAY_S = 0.5
"""How long work for later is put off because readers need the processors."""
_STEP_S = 0.02

log = get_logger("mountd.cache.disk")


class DiskTier:
    """The disk tier.

    Args:
        cache: the disk cache; open, unless there is `trouble`.
        fetch: brings bytes from the store.
        queue_bytes: the most bytes that wait to be written, in memory.
        begin: starts the same without a task, where it can.
        on_miss: is told about every version that a reader wanted bytes of that were not on disk.
        trouble: why the cache could not be opened; that is tried again like after any other trouble.
        pace: knows whether processors idle.
    """

    def __init__(
        self,
        cache: DiskCache,
        fetch: Fetch,
        *,
        queue_bytes: int,
        begin: BeginFetch = never,
        on_miss: Callable[[ObjectVersion], None] = lambda _: None,
        trouble: Exception | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._cache = cache
        self._fetch = fetch
        self._begin = begin
        self._on_miss = on_miss
        self._shared = SharedFetches()
        self._ready = trio.Event()
        self._breaker = Breaker()
        self._pace = pace or Pace()
        self._upkeep = Lane("disk upkeep", 1)
        self._reads = DiskReads(cache, self._trouble, min(MOST_UNASKED, 2 * queue_bytes))
        self._totals: Totals | None = None
        self.demand = Demand(self._pace)
        self.counters = TierCounters()
        self._writes = Lane("disk writes", 1)
        self._writer = Writer(
            cache,
            self._writes,
            queue_bytes,
            self.demand,
            self._pace,
            is_well=self._is_well,
            trouble=self._trouble,
            counters=self.counters,
        )
        if trouble is not None:
            self._trouble(trouble)

    # ---- for readers

    async def fetch(self, version: ObjectVersion, wanted: ByteRange) -> memoryview:
        """Return the bytes of `wanted`, from the disk or else from the store; errors are the store's."""
        held = None if self._breaker.is_open else self._cache.find(version, wanted)
        if held is not None:
            data = await self._reads.read(held)
            if data is not None:
                self.counters.hits += 1
                self.counters.bytes_hit += data.nbytes
                return data
        self.counters.misses += 1
        self._on_miss(version)
        self.demand.begin()
        try:
            shared = self._shared.find(version, wanted)
            if shared is not None and (data := await shared.part(wanted)) is not None:
                return data
            data = await self._fetch_shared(version, wanted)
        finally:
            self.demand.end()
        self._writer.offer(Piece(version, wanted.start, data))
        return data

    def begin(self, version: ObjectVersion, wanted: ByteRange, done: FetchDone) -> bool:
        """Start to `fetch` from the store without a task; False: not now, or the disk has it."""
        if not self._breaker.is_open and self._cache.find(version, wanted) is not None:
            return False
        if self._shared.find(version, wanted) is not None:
            return False
        shared = self._shared.begin(version, wanted)

        def came(data: memoryview | None) -> None:
            self.demand.end()
            self._shared.end(version, shared, data)
            try:
                if data is None:
                    self.counters.misses -= 1  # the ordinary fetch counts
                else:
                    self._on_miss(version)
                    self._writer.offer(Piece(version, wanted.start, data))
            finally:
                done(data)

        begun = False
        try:
            begun = self._begin(version, wanted, came)
        finally:
            if not begun:
                self._shared.end(version, shared, None)
        if begun:
            self.counters.misses += 1
            self.demand.begin()
        return begun

    # ---- for whoever fills the disk

    async def bring(self, version: ObjectVersion, wanted: ByteRange, *, pinned: bool = False) -> bool:
        """Fetch `wanted` and write it to disk; False: the disk has no room or is in trouble. Errors are the store's.

        Waits for memory first. `wanted` may be here already, and costs nothing then.
        """
        cost = await self._writer.room(wanted.length)
        try:
            if not self.takes_writes:
                return False
            if not pinned and self._cache.holds(version, wanted):
                return True
            shared = self._shared.find(version, wanted)
            data = None if shared is None else await shared.part(wanted)
            if data is None:
                data = await self._fetch_shared(version, wanted)
            cost = 0  # the writer gives it back
            return await self._writer.write(Piece(version, wanted.start, data, pinned))
        finally:
            if cost:
                self._writer.give_back(cost)

    async def give_way(self) -> None:
        """Wait while readers wait and no processor idles, `GIVE_WAY_S` at most: work for later begins after that."""
        with trio.move_on_after(GIVE_WAY_S):
            while self.readers_wait and not self._pace.has_spare():  # noqa: ASYNC110 - silence is no event
                await trio.sleep(_STEP_S)

    async def catch_up(self) -> None:
        """Learn now what other processes did, such as `mountd cache clear`."""
        if self._breaker.is_open:
            return
        try:
            with trio.fail_after(UPKEEP_S):
                await self._upkeep.run(self._cache.maintain)
        except (OSError, trio.TooSlowError) as error:
            self._trouble(error)

    def gaps(self, version: ObjectVersion) -> list[ByteRange]:
        """Return what is missing of a version on the disk, as far as this process knows."""
        return self._cache.gaps(version)

    async def pin(self, versions: list[ObjectVersion]) -> None:
        """Keep what is here of `versions` whatever room is needed for."""
        try:
            await self._writes.run(self._cache.pin, versions)
        except OSError as error:
            self._trouble(error)

    async def want(self, count: int, what: bytes, *, filling: bool) -> None:
        """Tell other mounts how many bytes of disk this one keeps filled, or is about to fill."""
        try:
            await self._writes.run(self._cache.want, count, what, filling)
        except OSError as error:
            self._trouble(error)

    async def is_brought_by_another(self, what: bytes) -> bool:
        """Whether a mount that came earlier is bringing the same."""
        try:
            return await self._upkeep.run(self._cache.is_brought_by_another, what)
        except OSError as error:
            self._trouble(error)
            return False

    async def totals(self) -> Totals | None:
        """Return what the disk holds; None where it is in trouble."""
        if self._breaker.is_open:
            return None
        try:
            self._totals = await self._reads.lane.run(self._cache.totals)
        except OSError as error:
            self._trouble(error)
            return None
        return self._totals

    async def refresh(self) -> None:
        """Bring `latest_totals` up to date, where that can be had; what is wrong with the disk, upkeep says."""
        if not self._breaker.is_open:
            with suppress(OSError, RuntimeError):  # the latter: no thread to be had
                # Behind upkeep, whose time is bounded: a disk that hangs may take no thread from readers for this.
                self._totals = await self._upkeep.run(self._cache.totals)

    # ---- life

    async def run(self) -> None:
        """Write and keep up, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reads.run)
            nursery.start_soon(self._writer.run)
            nursery.start_soon(self._keep_up)

    async def wait_ready(self) -> None:
        """Return once the cache takes writes: soon, or after files and index were compared after a power failure."""
        await self._ready.wait()

    async def drain(self) -> None:
        """Return once everything that was offered is written."""
        await self._writer.drain()

    async def aclose(self) -> None:
        """Say goodbye to the cache; whatever is under way ends first, or is left to the next process."""
        await self._upkeep.run(self._cache.close)

    def report(self, error: Exception) -> None:
        """Somebody else who uses the disk met trouble."""
        self._trouble(error)

    @property
    def latest_totals(self) -> Totals | None:
        """What the disk held a moment ago."""
        return self._totals

    @property
    def in_trouble(self) -> bool:
        """The disk is being left out."""
        return self._breaker.is_open

    @property
    def takes_writes(self) -> bool:
        """The disk is ready, well, and had room when it was last asked."""
        return self._writer.takes

    @property
    def readers_wait(self) -> bool:
        """A reader waits for the store, or did a moment ago."""
        return self.demand.lately

    @property
    def queued_bytes(self) -> int:
        """Bytes of memory that wait to be written."""
        return self._writer.queued_bytes

    @property
    def corrupt(self) -> int:
        """Runs whose bytes were not what was written, and were fetched again."""
        return self._cache.corrupt

    @property
    def evicted(self) -> int:
        """Objects that this mount took away to make room."""
        return self._cache.evicted

    # ---- inside

    async def _fetch_shared(self, version: ObjectVersion, wanted: ByteRange) -> memoryview:
        shared = self._shared.begin(version, wanted)
        data: memoryview | None = None
        try:
            data = await self._fetch(version, wanted)
        finally:
            self._shared.end(version, shared, data)
        return data

    def _is_well(self) -> bool:
        return self._ready.is_set() and not self._breaker.is_open

    async def _keep_up(self) -> None:
        while True:
            try:
                with trio.fail_after(UPKEEP_S):
                    await self._upkeep_round()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the disk, the mount goes on
                if not is_full(error):
                    self._trouble(error)
            await trio.sleep(UPKEEP_EVERY_S)

    async def _upkeep_round(self) -> None:
        trial = self._breaker.is_open
        if trial:
            if not self._breaker.allows(trio.current_time()):
                return
            await self._upkeep.run(self._cache.reopen)
            await self._upkeep.run(self._cache.probe)
        await self._upkeep.run(self._cache.maintain)
        await self._upkeep.run(self._cache.compare)
        self._totals = await self._upkeep.run(self._cache.totals)
        self._ready.set()
        # Trouble that began during a round is not over at its end: nobody has looked since.
        if trial and self._breaker.succeeded(trio.current_time()):
            log.info("the disk cache is back")

    def _trouble(self, error: Exception) -> None:
        self.counters.errors += 1
        if self._breaker.failed(trio.current_time()):
            log.warning(
                "the disk cache is in trouble and left out; it is tried again by itself",
                why=f"{type(error).__name__}: {error}",
            )
