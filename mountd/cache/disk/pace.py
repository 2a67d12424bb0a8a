"""When the writer of the disk tier steps back: readers wait for the store and the processors have nothing to spare.

Writing costs a copy and a checksum for every byte. Where processors idle that is nobody's loss; where they do not, it
is taken from the readers. In the first second of a burst of reads the writer then does nothing, and what comes waits in
memory; later it works a twentieth of the time. What does not fit its queue is dropped; directories in use are brought
to the disk when nobody waits. A burst that is about to take all there is begins with idle processors: its first
requests wait for the store.
"""

import math
from collections.abc import Callable
from time import monotonic, process_time

from mountd.cache.disk.processors import Load, load_reader

SPARE = 0.7
"""Processors that must idle, and be this process's to use, for the writer to work without pauses; where it may use less
than one in all, this part of that."""
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


class Pace:
    """Says whether there is processor time to spare, and how long to rest after a piece of work.

    Args:
        read: the load of the processors that this process may use.
        clock: seconds.
        own: processor time that this process has used, all threads together, in seconds.
    """

    def __init__(
        self,
        read: Callable[[], Load | None] | None = None,
        clock: Callable[[], float] = monotonic,
        own: Callable[[], float] = process_time,
    ) -> None:
        self._read = read or load_reader()
        self._clock = clock
        self._own = own
        self._last = self._read()
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
        seconds = now - self._last_at
        if seconds < SAMPLE_S:
            return self._spare
        sample, own = self._read(), self._own()
        if sample is None or self._last is None or seconds > STALE_S:
            self._spare = sample is None
        elif sample.total > self._last.total:
            settled = now - self._burst_at >= SETTLED_S or own - self._last_own <= LEISURELY * seconds
            idle = sample.idle_since(self._last, seconds)
            self._spare = settled and idle >= SPARE * min(1.0, sample.allowed)
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
