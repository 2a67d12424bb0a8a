"""When the writer of the disk tier steps back: readers wait for the store and the processors have nothing to spare.

Writing costs a copy and a checksum for every byte. Where processors idle that is nobody's loss; where they do not, it
is taken from the readers. In the first second of a burst of reads the writer then does nothing, and what comes waits in
memory; later it works a twentieth of the time. What does not fit its queue is dropped; directories in use are brought
to the disk when nobody waits. A burst that is about to take all there is begins with idle processors: its first
requests wait for the store.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic, process_time
from typing import NamedTuple

SPARE = 0.7
"""Processors that must idle for the writer to work without pauses."""
REST = 19.0
"""How long it rests for the time that it has worked."""
LONGEST_REST_S = 0.5
FIRST_S = 1.0
"""How long the readers of a burst have the processors to themselves."""
SETTLED_S = 0.3
"""How old a burst must be for idle processors to be taken for spare ones: before that windows still grow."""
LEISURELY = 0.3
"""Processors that this process itself may use until then for idle ones to count all the same: its store is slow, and
will not keep them busier later."""
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
    """Says whether there is processor time to spare, and how long to rest after a piece of work.

    Args:
        read: the machine's processor time.
        clock: seconds.
        own: processor time that this process has used, all threads together, in seconds.
        processors: how many there are.
    """

    def __init__(
        self,
        read: Callable[[], ProcessorTime | None] = read_processor_time,
        clock: Callable[[], float] = monotonic,
        own: Callable[[], float] = process_time,
        processors: int | None = None,
    ) -> None:
        self._processors = processors or os.cpu_count() or 1
        self._read = read
        self._clock = clock
        self._own = own
        self._last = read()
        self._last_at = clock()
        self._last_own = own()
        self._spare = self._last is None
        self._burst_at = -math.inf

    def burst_begins(self) -> None:
        """Readers wait, and none did for a while: how idle processors were until now tells nothing of this moment."""
        self._burst_at = self._clock()
        self._last_at = -math.inf
        self._spare = self._last is None

    def has_spare(self) -> bool:
        """Whether processors idle, as far as is known: just after a quiet time it is not, and the answer is no."""
        now = self._clock()
        if self._last is None or now - self._last_at < SAMPLE_S:
            return self._spare
        sample, own = self._read(), self._own()
        if sample is None or now - self._last_at > STALE_S:
            self._spare = sample is None
        elif sample.total > self._last.total:
            idle = (sample.idle - self._last.idle) / (sample.total - self._last.total)
            self._spare = idle >= SPARE / self._processors and (
                now - self._burst_at >= SETTLED_S or own - self._last_own <= LEISURELY * (now - self._last_at)
            )
        self._last, self._last_at, self._last_own = sample, now, own
        return self._spare

    @property
    def burst_is_young(self) -> bool:
        """The latest burst of reads is in its first second."""
        return self._clock() - self._burst_at < FIRST_S

    def stands_back(self, *, readers_wait: bool) -> bool:
        """Whether work is not even to begin yet."""
        return readers_wait and self.burst_is_young and not self.has_spare()

    def rest_s(self, worked_s: float, *, readers_wait: bool) -> float:
        """Return the seconds to rest after `worked_s` seconds of work."""
        if not readers_wait or self.has_spare():
            return 0.0
        return min(LONGEST_REST_S, REST * worked_s)
