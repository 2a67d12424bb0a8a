"""Bytes in flight: a ceiling, and a pace below it that suits the link.

The ceiling keeps memory. The pace keeps requests short: 256 MiB shared by a link of 10 Mbit/s would make every range
take minutes, and none of it is kept if the connection breaks, so what is in flight starts small, grows with every
transfer that was quick, and is halved when one was slow.
"""

import contextlib
from collections.abc import AsyncIterator

import trio

from mountd.cache.budget import Budget
from mountd.transfer.limits import TransferLimits
from mountd.units import MIB

FIRST_BYTES = 32 * MIB
"""Doubles with every round of quick transfers: three rounds to the default ceiling."""
QUICK_S = 4.0
SLOW_S = 12.0
"""A fifth of the time that a request may be silent."""


class BytesInFlight:
    """Grants bytes first come, first served."""

    def __init__(self, limits: TransferLimits) -> None:
        self._floor = limits.range_bytes
        self._ceiling = limits.memory_bytes
        self._budget = Budget(max(self._floor, min(FIRST_BYTES, self._ceiling)), lambda _missing, _waiting: 0)
        self._slowed_at = -SLOW_S

    @property
    def granted_at_most(self) -> int:
        """The bytes that may be in flight now."""
        return self._budget.limit

    @property
    def peak(self) -> int:
        """The most bytes that ever were in flight."""
        return self._budget.peak

    @contextlib.asynccontextmanager
    async def carry(self, count: int) -> AsyncIterator[None]:
        """Hold `count` bytes in the body, which transfers them.

        Raises:
            NoRoomError: `count` is above the ceiling.
        """
        if count <= self._ceiling:
            # Also the limit never falls below it again: who waits for more than the limit would wait for ever.
            self._floor = max(self._floor, count)
            self._budget.limit = max(self._budget.limit, count)
        await self._budget.charge(count)
        began = trio.current_time()
        try:
            yield
            self._learn(count, trio.current_time() - began)
        finally:
            self._budget.release(count)

    def _learn(self, count: int, seconds: float) -> None:
        now = trio.current_time()
        if seconds < QUICK_S:
            self._budget.limit = min(self._ceiling, self._budget.limit + count)
        elif seconds > SLOW_S and now - self._slowed_at > SLOW_S:
            # Once for all that were in flight together: each of them tells of the same crowd.
            self._slowed_at = now
            self._budget.limit = max(self._floor, self._budget.limit // 2)
