"""Log lines about requests that failed: enough to know what is wrong, never as many as there are requests."""

import trio
from structlog.typing import FilteringBoundLogger

PERIOD_S = 2.0
"""At most one line in so many seconds; a line says how many were left out before it."""


class Complaints:
    """The failures of one session."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._silent_until = 0.0
        self._left_out = 0

    def failed(self, operation: str, why: str) -> None:
        """Say that storage failed a request, in a line of its own or as one of a number."""
        if self._may_speak():
            self._log.warning("request failed", operation=operation, why=why, **self._others())

    def broken(self, operation: str, error: Exception) -> None:
        """Say that a handler met a bug."""
        if self._may_speak():
            self._log.error("handler failed", operation=operation, exc_info=error, **self._others())

    def _may_speak(self) -> bool:
        now = trio.current_time()
        if now < self._silent_until:
            self._left_out += 1
            return False
        self._silent_until = now + PERIOD_S
        return True

    def _others(self) -> dict[str, int]:
        count, self._left_out = self._left_out, 0
        return {"others": count} if count else {}
