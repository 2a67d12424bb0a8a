"""Readers that wait for the store, as the disk tier sees them: work for later is done when there are none."""

import math

import trio

from mountd.cache.disk.pace import Pace

LATELY_S = 0.1
"""How long a reader that got its bytes is expected to come for more."""
BURST_AFTER_S = 0.5
"""A pause of so long ends a burst of reads. Shorter ones are of a reader that works on what it has read: were each the
beginning of a burst, which counts as busy, little would be written on an idle machine."""


class Demand:
    """Those of one tier.

    Args:
        pace: is told when a burst begins.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.waiting = 0
        """Readers that wait now."""
        self._ended = -math.inf
        """When the last of them got its bytes, in trio's time."""

    def begin(self) -> None:
        """A reader waits; pair with `end`."""
        if not self.waiting and trio.current_time() - self._ended >= BURST_AFTER_S:
            self._pace.burst_begins()
        self.waiting += 1

    def end(self) -> None:
        """It got its bytes, or an error."""
        self.waiting -= 1
        if not self.waiting:
            self._ended = trio.current_time()

    @property
    def lately(self) -> bool:
        """A reader waits, or did a moment ago."""
        return self.waiting > 0 or trio.current_time() - self._ended < LATELY_S
