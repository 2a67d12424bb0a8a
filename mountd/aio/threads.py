"""The one bridge from the trio loop to blocking calls.

Every blocking call of the process goes through a `Lane`: a named limit on how many run at once. A cancelled caller
leaves at once; its call runs on in the thread until the call's own timeouts end it, and keeps its place in the lane
until then, so the number of threads never exceeds the limit. Whoever passes a call here sees to it that it ends.
"""

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


class Lane:
    """A named limit for blocking calls of one kind."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self._limiter = trio.CapacityLimiter(limit)

    async def run(self, call: Callable[..., T], *args: object) -> T:
        """Run `call(*args)` in a thread and return its result; waits for a place in the lane first."""
        return await trio.to_thread.run_sync(call, *args, abandon_on_cancel=True, limiter=self._limiter)

    @property
    def limit(self) -> int:
        """How many calls may run at once."""
        return int(self._limiter.total_tokens)

    @property
    def busy(self) -> int:
        """How many calls run now."""
        return self._limiter.borrowed_tokens
