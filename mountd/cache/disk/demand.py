"""Readers that wait for the store, and how work for later gives way to them.

That is so where processors have nothing to spare: writing to the disk costs a copy and a checksum for every byte, and
bringing something before it is asked for costs more. It is put off for a while at a time and no longer, so that it gets
on even beside readers that never rest.
"""

from math import inf

import trio

from mountd.cache.disk.pace import Pace

LATELY_S = 0.1
"""How long readers count as waiting after the last one had its bytes: the next ones are on their way."""
GIVE_WAY_S = 0.5
"""How long work for later is put off because readers need the processors."""
_STEP_S = 0.02


class Demand:
    """The readers of one mount.

    Args:
        pace: knows whether processors idle.
    """

    __slots__ = ("_last_at", "_pace", "waiting")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._last_at = -inf
        self.waiting = 0
        """Readers that wait now."""

    def begin(self) -> None:
        """A reader waits; pair with `end`."""
        if not self.readers_wait:
            self._pace.begin()  # how idle processors were while nobody waited says nothing of what is to come
        self.waiting += 1

    def end(self) -> None:
        """It waits no more."""
        self.waiting -= 1
        self._last_at = trio.current_time()

    @property
    def readers_wait(self) -> bool:
        """A reader waits, or did a moment ago."""
        return self.waiting > 0 or trio.current_time() - self._last_at < LATELY_S

    @property
    def needs_processors(self) -> bool:
        """Readers wait, and no processor idles as far as is known."""
        return self.readers_wait and not self._pace.has_spare()

    async def give_way(self, until: float) -> None:
        """Wait while readers need the processors, until `until` at most, in trio's time."""
        with trio.move_on_at(until):
            while self.needs_processors:  # noqa: ASYNC110 - silence is no event
                await trio.sleep(_STEP_S)
