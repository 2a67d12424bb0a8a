"""When the next bytes may leave: bandwidth per connection and in total, as virtual clocks.

Pure: the caller passes the time. A clock that fell behind catches up by at most `_CREDIT_S`, so that late wake-ups
cost no bandwidth and idle time is not saved up.
"""

from benchmarks.origin.settings import Settings

_CREDIT_S = 0.004
_QUANTUM_S = 0.005  # what one send may carry, in time
_LEAST_BYTES = 16 << 10


class Clock:
    """When the bytes granted so far are through, in seconds of the caller's clock."""

    __slots__ = ("busy_until",)

    def __init__(self) -> None:
        self.busy_until = 0.0

    def grant(self, length: int, rate: float, now: float) -> float:
        """Take `length` bytes at `rate` bytes per second and return when they may be sent."""
        when = max(self.busy_until, now - _CREDIT_S)
        self.busy_until = when + length / rate
        return when


class Pacer:
    """Grants slots under `settings`; one for the whole origin."""

    def __init__(self, settings: Settings) -> None:
        self._connection_rate = settings.connection_bytes_s
        self._total_rate = settings.total_bytes_s
        self.active = bool(self._connection_rate or self._total_rate)
        slowest = min(rate for rate in (self._connection_rate, self._total_rate, 1e12) if rate)
        self._quantum = max(_LEAST_BYTES, int(slowest * _QUANTUM_S))
        self._total = Clock()

    def grant(self, clock: Clock, length: int, now: float) -> tuple[int, float]:
        """Return how many of `length` bytes may be sent on the connection of `clock`, and when."""
        granted = min(length, self._quantum)
        when = now
        if self._connection_rate:
            when = max(when, clock.grant(granted, self._connection_rate, now))
        if self._total_rate:
            when = max(when, self._total.grant(granted, self._total_rate, now))
        return granted, when
