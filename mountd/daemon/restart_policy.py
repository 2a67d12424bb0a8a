"""When a worker that died is started again, and when not any more: a pure rule, fed with times."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRule:
    """How often and how soon."""

    limit: int = 5
    """Deaths within `window_s` that are answered with a new worker; the next one is the last."""
    window_s: float = 60.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 30.0


@dataclass(slots=True)
class RestartHistory:
    """The deaths of one mount's workers and what follows from them."""

    rule: RestartRule = field(default_factory=RestartRule)
    _deaths: deque[float] = field(default_factory=deque)
    _failed_starts: int = 0

    def after_death(self, now: float) -> float | None:
        """Return the pause in seconds before the next worker, or None when there have been too many deaths.

        `now` is the time of death on any monotonic clock, in seconds.
        """
        self._deaths.append(now)
        while self._deaths and self._deaths[0] <= now - self.rule.window_s:
            self._deaths.popleft()
        if len(self._deaths) > self.rule.limit:
            return None
        return self._pause(len(self._deaths))

    def after_failed_start(self) -> float:
        """Return the pause before the next try: a store that is away for an hour must not end a mount."""
        self._failed_starts += 1
        return self._pause(self._failed_starts + len(self._deaths))

    def after_start(self) -> None:
        """A worker is ready: the next failed start is the first again."""
        self._failed_starts = 0

    def _pause(self, failures: int) -> float:
        return float(min(self.rule.longest_pause_s, self.rule.first_pause_s * 2 ** min(failures - 1, 30)))
