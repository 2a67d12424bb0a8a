"""What writes to the disk cache what came from the store, readers first.

- Nobody waits for room but who brings something to the disk. What a reader fetched is offered, and dropped where it
  does not fit the queue: a shorter one while readers wait, when it could not be written soon.
- When it writes, and when readers have the processors, is said in `pace`. At the end of a mount it spares nobody.
"""

import errno
from collections.abc import Callable

import trio

from mountd.aio.threads import Lane
from mountd.cache.disk.counters import TierCounters
from mountd.cache.disk.demand import Demand
from mountd.cache.disk.disk_cache import DiskCache, Piece
from mountd.cache.disk.pace import Pace
from mountd.cache.disk.write_queue import Queued, WriteQueue, cost_of
from mountd.units import MIB

FULL_S = 2.0
"""How long nothing is offered to a disk that had no room."""
SMALL = 1 * MIB
"""In a burst's first second, pieces below this may fill most of the queue: their readers hardly need memory for
windows."""
MOST_SMALL = 2000
"""So many of them may wait: a batch takes as long however small they are, and the end of a mount waits for all."""
KEPT_FREE = 8
"""The part of the queue that is left then for who brings something to the disk: an eighth."""
SHORT_QUEUE = 8 * MIB
"""Bytes that otherwise wait to be written while readers wait: more would not be written sooner, and their memory is
missed where it would be used again at once."""
SHORTEST_QUEUE = 2 * MIB
"""The same while no processor idles either: what cannot be written soon is best not kept at all. One piece always may
wait."""
_STEP_S = 0.02


class Writer:
    """That of one tier.

    Args:
        cache: is written to.
        lane: in which it is.
        queue_bytes: the most bytes that wait to be written, in memory.
        demand: the readers.
        pace: knows whether processors idle.
        is_well: whether the disk may be written to at all.
        trouble: is told what is wrong with the disk.
        counters: of the tier.
    """

    def __init__(
        self,
        cache: DiskCache,
        lane: Lane,
        queue_bytes: int,
        demand: Demand,
        pace: Pace,
        *,
        is_well: Callable[[], bool],
        trouble: Callable[[Exception], None],
        counters: TierCounters,
    ) -> None:
        self._cache = cache
        self._queue = WriteQueue(queue_bytes)
        self._demand = demand
        self._pace = pace
        self._is_well = is_well
        self._trouble = trouble
        self._counters = counters
        self._full_until: float | None = None
        self._lane = lane
        self._ending = trio.Event()

    @property
    def takes(self) -> bool:
        """The disk is well, and had room when it was last asked."""
        return self._is_well() and (self._full_until is None or trio.current_time() >= self._full_until)

    @property
    def queued_bytes(self) -> int:
        """Bytes of memory that wait to be written."""
        return self._queue.used

    def offer(self, piece: Piece) -> None:
        """Keep what a reader has fetched, if that is no trouble."""
        count = piece.data.nbytes
        if self.takes and self._queue.try_room(count, within=self._longest_queue(count)):
            self._queue.put(Queued(piece))
        else:
            self._counters.bytes_dropped += count

    async def room(self, count: int) -> int:
        """Wait for room for `count` bytes; return what they cost; it is given back by `write` or `give_back`."""
        await self._queue.room(count)
        return cost_of(count)

    def give_back(self, cost: int) -> None:
        """Give back room that is not needed."""
        self._queue.release(cost)

    async def write(self, piece: Piece) -> bool:
        """Write a piece for which there is room, which is given back then; False: the disk did not take it."""
        done = trio.Event()
        queued = Queued(piece, done)
        self._queue.put(queued)
        await done.wait()
        return queued.kept

    async def drain(self) -> None:
        """Return once everything that was offered is written; from now on no reader is spared."""
        self._ending.set()
        await self._queue.drained()

    async def run(self) -> None:
        """Write, until cancelled."""
        while True:
            await self._queue.wait()
            while self._pace.stands_back(readers_wait=self._readers_wait):  # noqa: ASYNC110 - silence is no event
                await trio.sleep(_STEP_S)
            worked_s = await self._write_batch()
            with trio.move_on_after(self._pace.rest_s(worked_s, readers_wait=self._readers_wait)):
                await self._ending.wait()

    # ---- inside

    @property
    def _readers_wait(self) -> bool:
        return self._demand.lately and not self._ending.is_set()

    def _longest_queue(self, count: int) -> int:
        """Return how many bytes may wait if one more piece does, of `count` bytes."""
        if not self._demand.lately:
            return self._queue.limit
        if count < SMALL and self._pace.burst_is_young and len(self._queue) < MOST_SMALL:
            return max(SHORTEST_QUEUE, self._queue.limit - self._queue.limit // KEPT_FREE)
        return SHORT_QUEUE if self._pace.has_spare() else SHORTEST_QUEUE

    async def _write_batch(self) -> float:
        """Write what is written at once; return how many seconds that took."""
        batch = self._queue.take()
        began = trio.current_time()
        kept = await self._write([queued.piece for queued in batch])
        worked_s = trio.current_time() - began
        for queued in batch:
            queued.kept = kept
            if queued.done is not None:
                queued.done.set()
            if kept:
                self._counters.bytes_kept += queued.piece.data.nbytes
            else:
                self._counters.bytes_dropped += queued.piece.data.nbytes
        self._queue.release(sum(queued.cost for queued in batch))
        return worked_s  # and while it rests, it keeps no bytes in memory

    async def _write(self, pieces: list[Piece]) -> bool:
        if not self.takes:
            return False
        try:
            kept = await self._lane.run(self._cache.write, pieces)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the disk, the mount goes on
            if not is_full(error):
                self._trouble(error)
                return False
            kept = False
        if not kept:
            self._full_until = trio.current_time() + FULL_S
        return kept


def is_full(error: Exception) -> bool:
    """Whether a disk is full, which is no trouble."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
