"""How far a transfer is: counters that the transfer moves and anybody may look at.

Pure: no clock, no terminal. The rate is taken over a window of the recent past, from the times that the viewer gives.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mountd.stores.guarded import InFlight

RATE_WINDOW_S = 10.0
"""Long enough to be steady, short enough to show a stall."""


def _nobody(name: str, transferred: bool) -> None:
    """Be told of a file, and do nothing."""


@dataclass(slots=True)
class Progress:
    """The counters of one transfer or of several that run together; sizes in bytes."""

    files_found: int = 0
    size_found: int = 0
    """Grows while the listing goes on; final when `listed` is set."""
    listed: bool = False
    files_done: int = 0
    size_done: int = 0
    """Includes the finished ranges of files under way, and what an earlier run had left complete."""
    moved: int = 0
    """Bytes over the wire."""
    skipped: int = 0
    failed: int = 0
    restarted: int = 0
    """Files begun anew because they changed while they were read."""
    on_file: Callable[[str, bool], None] = field(default=_nobody, repr=False, compare=False)
    """Called for each file that is complete (true) or was left alone (false), with its path below the directory that
    is uploaded, or its key; from the loop, so it must not block."""

    _in_flight: Callable[[], Sequence[InFlight]] = field(default=tuple, repr=False, compare=False)

    def watch(self, in_flight: Callable[[], Sequence[InFlight]]) -> None:
        """Let viewers see the store's requests: a transfer that stands still has a reason."""
        self._in_flight = in_flight

    def insisting(self) -> list[InFlight]:
        """Return the requests that failed and are being tried again, the longest first."""
        return [call for call in self._in_flight() if call.tries > 1]

    def found(self, size: int) -> None:
        """Count one more file to transfer."""
        self.files_found += 1
        self.size_found += size

    def forgotten(self, size: int) -> None:
        """Uncount a file that turned out to be there already."""
        self.files_found -= 1
        self.size_found -= size

    def resized(self, old: int, new: int) -> None:
        """Correct the size of a file that changed since it was found."""
        self.size_found += new - old

    def received(self, count: int) -> None:
        """Count bytes that came or went over the wire."""
        self.moved += count

    def kept(self, count: int) -> None:
        """Count bytes that are where they belong."""
        self.size_done += count

    def taken_back(self, count: int) -> None:
        """Uncount kept bytes of a file that starts anew or failed."""
        self.size_done -= count

    def finished(self, name: str) -> None:
        """Count a file as complete."""
        self.files_done += 1
        self.on_file(name, True)

    def left_alone(self, name: str) -> None:
        """Count a file that is there already and is to stay as it is."""
        self.skipped += 1
        self.on_file(name, False)


class Rate:
    """Bytes per second over the last `RATE_WINDOW_S` seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float, moved: int) -> float:
        """Return the rate at time `now` (seconds, any origin), when `moved` bytes have come in all."""
        while len(self._samples) > 1 and self._samples[1][0] <= now - RATE_WINDOW_S:
            self._samples.popleft()
        self._samples.append((now, moved))
        then, before = self._samples[0]
        return (moved - before) / (now - then) if now > then else 0.0


def remaining_s(progress: Progress, rate: float) -> float | None:
    """Return the seconds left at `rate` bytes per second, or None while that cannot be told."""
    if not progress.listed or rate <= 0:
        return None
    return max(0.0, (progress.size_found - progress.size_done) / rate)
