"""The disk tier of one mount: a layer around `fetch` that looks on the disk first and keeps there what the store sent.

- A reader never waits for a write. What came from the store goes into a bounded queue, and is dropped when it is full.
- A reader waits for the disk no longer than `READ_S`; a disk in trouble is left out, and comes back by itself.
- What the disk holds is known by a set in memory, so that a miss costs neither a thread nor a query. It lags behind
  other processes by one round of upkeep: then the bytes are fetched once more, no harm done.
"""

import errno
import sqlite3
from collections import deque
from collections.abc import Callable

import trio

from mountd.aio.threads import Lane
from mountd.cache.disk.breaker import Breaker
from mountd.cache.disk.disk_cache import DiskCache, Piece
from mountd.cache.disk.pace import Pace
from mountd.cache.disk.records import Totals
from mountd.cache.version import Fetch, ObjectVersion
from mountd.observe.logs import get_logger
from mountd.units import KIB, MIB, ByteRange

READ_S = 3.0
UPKEEP_EVERY_S = 2.0
UPKEEP_S = 60.0
FULL_S = 2.0
"""How long nothing is offered to a disk that had no room."""
LATELY_S = 0.1
BATCH_BYTES = 8 * MIB
BATCH_PIECES = 64
PIECE_COST = 4 * KIB
"""What the smallest piece counts for in the queue."""
_READERS = 8
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

log = get_logger("mountd.cache.disk")


class TierCounters:
    """Counts since the start."""

    __slots__ = ("bytes_dropped", "bytes_hit", "bytes_kept", "errors", "hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.bytes_hit = 0
        self.bytes_kept = 0
        self.bytes_dropped = 0
        """Not kept: the queue or the disk was full, or the disk in trouble."""
        self.errors = 0


class _Queued:
    __slots__ = ("cost", "done", "kept", "piece")

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.cost = max(piece.data.nbytes, PIECE_COST)
        self.done = trio.Event()
        self.kept = False


class DiskTier:
    """The disk tier.

    Args:
        cache: the disk cache, open.
        fetch: brings bytes from the store.
        queue_bytes: the most bytes that wait to be written, in memory.
    """

    def __init__(self, cache: DiskCache, fetch: Fetch, *, queue_bytes: int) -> None:
        self._cache = cache
        self._fetch = fetch
        self._queue_bytes = queue_bytes
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._changed = trio.Condition()
        self._work = trio.Event()
        self._idle = trio.Event()
        self._idle.set()
        self._full_until = 0.0
        self._ready = trio.Event()
        self._breaker = Breaker()
        self._pace = Pace()
        self._reads = Lane("disk reads", _READERS)
        self._writes = Lane("disk writes", 1)
        self._upkeep = Lane("disk upkeep", 1)
        self._known: set[bytes] | None = None
        self._last_row = 0
        self._totals: Totals | None = None
        self.on_read: Callable[[ObjectVersion], None] = lambda _: None
        """Told about every version that a reader wants bytes of."""
        self.demand = 0
        """Readers that wait for the store now."""
        self.last_demand = -1e9
        """When the latest of them got its bytes, in trio's time."""
        self.counters = TierCounters()

    # ---- for readers

    async def fetch(self, version: ObjectVersion, wanted: ByteRange) -> memoryview:
        """Return the bytes of `wanted`, from the disk or else from the store; errors are the store's."""
        self.on_read(version)
        if self._may_have(version):
            data = await self._read(version, wanted)
            if data is not None:
                self.counters.hits += 1
                self.counters.bytes_hit += data.nbytes
                return data
        self.counters.misses += 1
        self.demand += 1
        try:
            data = await self._fetch(version, wanted)
        finally:
            self.demand -= 1
            self.last_demand = trio.current_time()
        self._offer(Piece(version, wanted.start, data))
        return data

    # ---- for whoever fills the disk

    async def room(self, count: int) -> None:
        """Wait until `count` bytes may be brought to be kept; pair with `keep` or `give_back`."""
        cost = max(count, PIECE_COST)
        async with self._changed:
            while self._queued_bytes and self._queued_bytes + cost > self._queue_bytes:
                await self._changed.wait()
            self._queued_bytes += cost

    async def give_back(self, count: int) -> None:
        """Give back room that is not used after all."""
        await self._release(max(count, PIECE_COST))

    async def keep(self, piece: Piece) -> bool:
        """Write `piece`, for which there is `room`; False: the disk has no room or is in trouble."""
        queued = _Queued(piece)
        if not self._takes_writes:
            await self._release(queued.cost)
            return False
        self._enqueue(queued)
        await queued.done.wait()
        return queued.kept

    async def gaps(self, version: ObjectVersion) -> list[ByteRange]:
        """Return what is missing of a version on the disk; all of it where the disk is in trouble."""
        if self._breaker.is_open:
            return [ByteRange(0, version.size)]
        try:
            return await self._reads.run(self._cache.gaps, version)
        except (OSError, sqlite3.Error) as error:
            self._trouble(error)
            return [ByteRange(0, version.size)]

    async def pin(self, versions: list[ObjectVersion]) -> None:
        """Keep what is here of `versions` whatever room is needed for."""
        try:
            await self._writes.run(self._cache.pin, versions)
        except (OSError, sqlite3.Error) as error:
            self._trouble(error)

    async def totals(self) -> Totals | None:
        """Return what the disk holds; None where it is in trouble."""
        if self._breaker.is_open:
            return None
        try:
            self._totals = await self._reads.run(self._cache.totals)
        except (OSError, sqlite3.Error) as error:
            self._trouble(error)
            return None
        return self._totals

    # ---- life

    async def run(self) -> None:
        """Write and keep up, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_all)
            nursery.start_soon(self._keep_up)

    async def wait_ready(self) -> None:
        """Return once the cache takes writes: soon, or after files and rows were compared after a power failure."""
        await self._ready.wait()

    async def drain(self) -> None:
        """Return once everything that was offered is written."""
        await self._idle.wait()

    async def aclose(self) -> None:
        """Say goodbye to the cache; whatever is under way ends first, or is left to the next process."""
        await self._upkeep.run(self._cache.close)

    @property
    def latest_totals(self) -> Totals | None:
        """What the disk held a moment ago."""
        return self._totals

    @property
    def in_trouble(self) -> bool:
        """The disk is being left out."""
        return self._breaker.is_open

    @property
    def corrupt(self) -> int:
        """Runs whose bytes were not what was written, and were fetched again."""
        return self._cache.corrupt

    @property
    def evicted(self) -> int:
        """Objects that this mount took away to make room."""
        return self._cache.evicted

    # ---- inside

    def _may_have(self, version: ObjectVersion) -> bool:
        if self._breaker.is_open:
            return False
        return self._known is None or self._cache.digest(version) in self._known

    async def _read(self, version: ObjectVersion, wanted: ByteRange) -> memoryview | None:
        with trio.move_on_after(READ_S):
            try:
                return await self._reads.run(self._cache.read, version, wanted)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the disk, the reader gets its bytes
                self._trouble(error)
                return None
        self._trouble(TimeoutError(f"the disk did not answer within {READ_S:g} s"))
        return None

    @property
    def _readers_wait(self) -> bool:
        return self.demand > 0 or trio.current_time() - self.last_demand < LATELY_S

    @property
    def _takes_writes(self) -> bool:
        return self._ready.is_set() and not self._breaker.is_open and trio.current_time() >= self._full_until

    def _offer(self, piece: Piece) -> None:
        queued = _Queued(piece)
        if not self._takes_writes or self._queued_bytes + queued.cost > self._queue_bytes:
            self.counters.bytes_dropped += piece.data.nbytes
            return
        self._queued_bytes += queued.cost
        self._enqueue(queued)

    def _enqueue(self, queued: _Queued) -> None:
        self._queue.append(queued)
        self._idle = self._idle if not self._idle.is_set() else trio.Event()
        self._work.set()

    async def _release(self, cost: int) -> None:
        async with self._changed:
            self._queued_bytes -= cost
            self._changed.notify_all()

    async def _write_all(self) -> None:
        while True:
            await self._work.wait()
            batch: list[_Queued] = []
            size = 0
            while self._queue and len(batch) < BATCH_PIECES and size < BATCH_BYTES:
                batch.append(self._queue.popleft())
                size += batch[-1].cost
            if not batch:
                self._idle.set()
                self._work = trio.Event()
                continue
            began = trio.current_time()
            kept = await self._write([queued.piece for queued in batch])
            worked_s = trio.current_time() - began
            for queued in batch:
                queued.kept = kept
                queued.done.set()
                if kept:
                    self.counters.bytes_kept += queued.piece.data.nbytes
                    if self._known is not None:
                        self._known.add(self._cache.digest(queued.piece.version))
                else:
                    self.counters.bytes_dropped += queued.piece.data.nbytes
            batch.clear()
            await self._release(size)
            await trio.sleep(self._pace.rest_s(worked_s, readers_wait=self._readers_wait))

    async def _write(self, pieces: list[Piece]) -> bool:
        if not self._takes_writes:
            return False
        try:
            kept = await self._writes.run(self._cache.write, pieces)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the disk, the mount goes on
            if _is_full(error):
                kept = False
            else:
                self._trouble(error)
                return False
        if not kept:
            self._full_until = trio.current_time() + FULL_S
        return kept

    async def _keep_up(self) -> None:
        while True:
            try:
                with trio.fail_after(UPKEEP_S):
                    await self._upkeep_round()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the disk, the mount goes on
                self._trouble(error)
            await trio.sleep(UPKEEP_EVERY_S)

    async def _upkeep_round(self) -> None:
        trial = self._breaker.is_open
        if trial:
            if not self._breaker.allows(trio.current_time()):
                return
            await self._upkeep.run(self._cache.reopen)
            await self._upkeep.run(self._cache.probe)
            self._known, self._last_row = None, 0
        if self._known is None or len(self._known) > 2 * self._objects_known():
            self._known, self._last_row = None, 0
        if trial or not self._ready.is_set():
            await self._upkeep.run(self._cache.sweep)
        await self._upkeep.run(self._cache.maintain)
        await self._learn()
        self._totals = await self._upkeep.run(self._cache.totals)
        self._ready.set()
        # Trouble that began during a round is not over at its end: nobody has looked since.
        if trial and self._breaker.succeeded(trio.current_time()):
            log.info("the disk cache is back")

    def _objects_known(self) -> int:
        return max(1000, 0 if self._totals is None else self._totals.objects)

    async def _learn(self) -> None:
        new = await self._upkeep.run(self._cache.digests, self._last_row)
        # no await: a version that the writer has just added is not lost
        known = set() if self._known is None else self._known
        known.update(digest for _, digest in new)
        if new:
            self._last_row = new[-1][0]
        self._known = known

    def _trouble(self, error: Exception) -> None:
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY:
            return  # other processes keep the index busy: a miss, no trouble
        self.counters.errors += 1
        if self._breaker.failed(trio.current_time()):
            log.warning(
                "the disk cache is in trouble and left out; it is tried again by itself",
                why=f"{type(error).__name__}: {error}",
            )


def _is_full(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
