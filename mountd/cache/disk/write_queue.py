"""What waits to be written to disk: bounded in bytes, in the order of arrival."""

from collections import deque

import trio

from mountd.cache.disk.disk_cache import Piece
from mountd.units import KIB, MIB

BATCH_BYTES = 8 * MIB
BATCH_PIECES = 64
PIECE_COST = 4 * KIB
"""What the smallest piece counts for."""


class Queued:
    """A piece that waits."""

    __slots__ = ("cost", "done", "kept", "piece")

    def __init__(self, piece: Piece, done: trio.Event | None = None) -> None:
        self.piece = piece
        self.cost = cost_of(piece.data.nbytes)
        self.done = done
        """It is written, or never will be; None: nobody waits for that."""
        self.kept = False


class WriteQueue:
    """Pieces in line; `used` never exceeds `limit` by more than one piece.

    Args:
        limit: bytes of memory.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        """Bytes in line, being written, or promised by `room`."""
        self._line: deque[Queued] = deque()
        self._changed = trio.Event()
        self._work = trio.Event()

    def __len__(self) -> int:
        return len(self._line)

    async def room(self, count: int) -> None:
        """Wait until there is room for `count` bytes, and take it; pair with `release` of their cost."""
        cost = cost_of(count)
        while self.used and self.used + cost > self.limit:
            await self._changed.wait()
        self.used += cost

    def try_room(self, count: int, *, within: int) -> bool:
        """Take room for `count` bytes if there is any, in a queue of at most `within` bytes or an empty one."""
        cost = cost_of(count)
        if self.used + cost > self.limit or (self.used and self.used + cost > within):
            return False
        self.used += cost
        return True

    def release(self, cost: int) -> None:
        """Give room back."""
        self.used -= cost
        self._changed.set()
        self._changed = trio.Event()

    def put(self, queued: Queued) -> None:
        """Add a piece for which there is room."""
        self._line.append(queued)
        self._work.set()

    async def wait(self) -> None:
        """Wait for pieces."""
        await self._work.wait()

    def take(self) -> list[Queued]:
        """Take as many of them as are written at once."""
        batch: list[Queued] = []
        size = 0
        while self._line and len(batch) < BATCH_PIECES and size < BATCH_BYTES:
            batch.append(self._line.popleft())
            size += batch[-1].cost
        if not self._line:
            self._work = trio.Event()
        return batch

    async def drained(self) -> None:
        """Return once nothing waits or is being written."""
        while self.used:
            await self._changed.wait()


def cost_of(count: int) -> int:
    """Return what `count` bytes count for."""
    return max(count, PIECE_COST)
