"""One byte budget for a mount: what is charged never exceeds the limit.

Who needs bytes at once asks with `try_charge`; who can wait uses `charge`, served first come, first served. Before
anybody waits or is refused, the owner is asked to give up bytes through `reclaim`. Invariants: `0 <= used <= limit`;
a waiter is granted as soon as it fits, in the order of arrival; a request above the limit is an error at once, since it
could never be granted.
"""

from collections import deque
from collections.abc import Callable

import trio

from mountd.errors import NoRoomError


class Budget:
    """Accounts for bytes; holds none itself.

    Args:
        limit: the ceiling in bytes.
        reclaim: called with the bytes missing and whether a waiting reader needs them; gives up what it can and
            returns how many charged bytes that were. Must not await and must not call back.
    """

    def __init__(self, limit: int, reclaim: Callable[[int, bool], int]) -> None:
        self.limit = limit
        self.used = 0
        self.peak = 0
        self._reclaim = reclaim
        self._waiters: deque[tuple[int, trio.Event]] = deque()

    def try_charge(self, count: int) -> bool:
        """Charge `count` bytes now, without making anybody who waits longer wait; False if they do not fit."""
        if self._waiters:
            return False
        missing = self.used + count - self.limit
        if missing > 0:
            self.used -= self._reclaim(missing, False)
            if self.used + count > self.limit:
                return False
        self._take(count)
        return True

    async def charge(self, count: int) -> None:
        """Charge `count` bytes, waiting for others to release theirs if need be.

        Raises:
            NoRoomError: `count` is above the limit itself.
        """
        if count > self.limit:
            raise NoRoomError(f"{count} bytes asked for at once, but the memory limit is {self.limit}; raise --memory")
        if not self._waiters:
            missing = self.used + count - self.limit
            if missing > 0:
                self.used -= self._reclaim(missing, True)
            if self.used + count <= self.limit:
                self._take(count)
                return
        granted = trio.Event()
        waiter = (count, granted)
        self._waiters.append(waiter)
        try:
            await granted.wait()
        except BaseException:
            if granted.is_set():
                self.release(count)
            else:
                self._waiters.remove(waiter)
                self._grant()  # the one behind may fit where this one did not
            raise

    def release(self, count: int) -> None:
        """Give back `count` bytes that were charged."""
        self.used -= count
        self._grant()

    def retry_reclaim(self) -> None:
        """Something became reclaimable: serve waiters with it, as many as it serves."""
        while self._waiters:
            waiting = len(self._waiters)
            missing = self.used + self._waiters[0][0] - self.limit
            if missing > 0:
                self.used -= self._reclaim(missing, True)
            self._grant()
            if len(self._waiters) == waiting:
                return

    def _grant(self) -> None:
        while self._waiters and self.used + self._waiters[0][0] <= self.limit:
            count, granted = self._waiters.popleft()
            self._take(count)
            granted.set()

    def _take(self, count: int) -> None:
        self.used += count
        self.peak = max(self.peak, self.used)

    @property
    def waiting(self) -> int:
        """How many callers wait in `charge`."""
        return len(self._waiters)
