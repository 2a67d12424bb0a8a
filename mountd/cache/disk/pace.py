"""Whether the processors have something to spare while readers wait for the store.

Writing to the disk costs a copy and a checksum for every byte. Where processors idle that is nobody's loss; where they
do not, it is taken from the readers: the disk tier then steps back, and what does not fit its queue is dropped.
Directories in use are brought to the disk when nobody waits.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import NamedTuple

SPARE = 0.7
"""Processors that must idle for that."""
SAMPLE_S = 0.1
"""How long processors are watched for a sample; their time is told in hundredths of a second."""
STALE_S = 0.5
"""A longer time says nothing of this moment."""


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
    """Says whether there is processor time to spare.

    Args:
        read: the machine's processor time.
        clock: seconds.
        processors: how many there are.
    """

    def __init__(
        self,
        read: Callable[[], ProcessorTime | None] = read_processor_time,
        clock: Callable[[], float] = monotonic,
        processors: int | None = None,
    ) -> None:
        self._processors = processors or os.cpu_count() or 1
        self._read = read
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Forget what the processors did until now: from now on something else is asked of them."""
        self._last, self._last_at = self._read(), self._clock()
        self._spare = self._last is None

    def has_spare(self) -> bool:
        """Whether processors idle, as far as is known: just after a quiet time it is not, and the answer is no."""
        now = self._clock()
        if self._last is None or now - self._last_at < SAMPLE_S:
            return self._spare
        sample = self._read()
        if sample is None or now - self._last_at > STALE_S:
            self._spare = sample is None
        elif sample.total > self._last.total:
            self._spare = (sample.idle - self._last.idle) / (
                sample.total - self._last.total
            ) >= SPARE / self._processors
        self._last, self._last_at = sample, now
        return self._spare
