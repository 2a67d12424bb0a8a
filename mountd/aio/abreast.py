"""How many requests for later may be under way at once: as many as do not wait for each other.

Requests that somebody waits for share the link and the store with those for later. So these become one more with each
that ends about as soon as it would alone, and half as many when one takes longer, be it for a narrow link or a store
that throttles. Durations are seconds.
"""

from collections.abc import Callable

import trio

FIRST = 16
MOST = 128
"""Fewer than a store serves at once: who cannot wait finds a place."""
QUEUED_S = 0.25
"""How much longer than alone a request may take."""
ALONE_S = 0.25
"""What a request may take alone, at the most, to be called so: what is measured on a full link has waited, too."""


class Abreast:
    """Counts them.

    Args:
        alone_s: returns what a request takes alone, as far as is known.
    """

    def __init__(self, alone_s: Callable[[], float]) -> None:
        self._alone_s = alone_s
        self._most = FIRST
        self._cut_at = float("-inf")
        self.under_way = 0

    @property
    def has_place(self) -> bool:
        """Whether one more may begin."""
        return self.under_way < self._most

    def begin(self) -> float:
        """One begins; return what `end` is to be told."""
        self.under_way += 1
        return trio.current_time()

    def end(self, began: float) -> None:
        """One has ended, however."""
        self.under_way -= 1
        now = trio.current_time()
        if now - began <= 2 * min(self._alone_s(), ALONE_S) + QUEUED_S:
            self._most = min(MOST, self._most + 1)
        elif began >= self._cut_at:  # those that were under way then say nothing new
            self._most = max(1, self._most // 2)
            self._cut_at = now
