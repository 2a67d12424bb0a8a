"""When to leave a disk in trouble alone: a pure state machine, one for each disk.

The first failure opens it; after a pause that doubles with every failed trial, one trial is let through, and a success
closes it. Trouble that is back within a minute is the same trouble: it is not announced again, and the pause goes on
growing.
"""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class Breaker:
    """Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._retry_at: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._quiet_until = 0.0
        self.trips = 0
        """How often trouble began."""

    @property
    def is_open(self) -> bool:
        """The disk is being left alone."""
        return self._retry_at is not None

    def allows(self, now: float) -> bool:
        """Whether to try; while open, only a trial whose time has come. The caller reports how it went."""
        if self._retry_at is None:
            return True
        if now < self._retry_at:
            return False
        self._retry_at = now + self._pause_s  # one trial at a time
        return True

    def failed(self, now: float) -> bool:
        """Take note of a failure; True: trouble has just begun."""
        begun = self._retry_at is None and now >= self._quiet_until
        if begun:
            self.trips += 1
            self._pause_s = FIRST_PAUSE_S
        else:
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        self._retry_at = now + self._pause_s
        return begun

    def succeeded(self, now: float) -> bool:
        """Take note of a success; True: trouble has just ended."""
        ended = self._retry_at is not None
        if ended:
            self._retry_at = None
            self._quiet_until = now + LONGEST_PAUSE_S
        return ended
