"""When the writer of the disk tier steps back: readers wait for the store and the processors have nothing to spare.

Writing costs a copy and a checksum for every byte. Where processors idle that is nobody's loss; where they do not, it
is taken from the readers, so the writer then works a fifth of the time, and what does not fit its queue is dropped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SPARE = 0.15
"""Part of the processors' time that must be idle for the writer to work without pauses."""
REST = 4.0
"""How long it rests for the time that it has worked."""
LONGEST_REST_S = 0.5
_SAMPLE_TICKS = 10
"""Ticks of all processors together (0.01 s each) that make a sample."""


class ProcessorTime(NamedTuple):
    """Ticks since the machine started, all processors together."""

    idle: int
    total: int


def read_processor_time(path: Path = Path("/proc/stat")) -> ProcessorTime | None:
    """Return the machine's processor time; None where it is not told. Reads memory, no disk."""
    try:
        fields = path.read_text("ascii").split("\n", 1)[0].split()[1:9]
        ticks = [int(field) for field in fields]
    except (OSError, ValueError):
        return None
    return ProcessorTime(ticks[3] + ticks[4], sum(ticks)) if len(ticks) >= 5 else None


class Pace:
    """Says how long to rest after a piece of work."""

    def __init__(self, read: Callable[[], ProcessorTime | None] = read_processor_time) -> None:
        self._read = read
        self._last = read()
        self._idle = 1.0

    def rest_s(self, worked_s: float, *, readers_wait: bool) -> float:
        """Return the seconds to rest after `worked_s` seconds of work."""
        now = self._read()
        if now is not None and self._last is not None and now.total - self._last.total >= _SAMPLE_TICKS:
            self._idle = (now.idle - self._last.idle) / (now.total - self._last.total)
            self._last = now
        if not readers_wait or self._idle >= SPARE:
            return 0.0
        return min(LONGEST_REST_S, REST * worked_s)
