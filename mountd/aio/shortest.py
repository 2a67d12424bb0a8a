"""What a request takes when nothing is in its way: the shortest of the latest ones. Durations are seconds."""

import math

FEW = 4
"""Until so many were seen, nothing is known."""
_LATEST = 32


class ShortestLately:
    """The shortest of the last 32 to 64 durations.

    A busy moment makes requests longer, never shorter: the shortest tells a store that is far away from a processor
    that is busy.
    """

    __slots__ = ("_before", "_count", "_now")

    def __init__(self) -> None:
        self._before = math.inf
        self._now = math.inf
        self._count = 0

    def note(self, duration_s: float) -> None:
        """A request took so long."""
        if self._count and self._count % _LATEST == 0:
            self._before, self._now = self._now, math.inf
        self._now = min(self._now, duration_s)
        self._count += 1

    @property
    def value_s(self) -> float:
        """The shortest; 0 while nothing is known."""
        return min(self._before, self._now) if self._count >= FEW else 0.0
