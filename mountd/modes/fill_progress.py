"""How far the filling of the disk is: counters and words, no I/O."""

from dataclasses import dataclass

from mountd.observe.statistics import FillStatus
from mountd.units import format_duration, format_size

_TOLD_FROM = 50
"""The time left is told once a fiftieth is done: before that it is a guess."""
PLACE_IN_INDEX = 8 << 10
"""Bytes of disk that a file takes beyond its own: the rest of its last block, its place in directory and journal."""


@dataclass(slots=True)
class FillProgress:
    """One fill; sizes in bytes, times in seconds of trio's clock."""

    ticket: str = ""
    """Who asked for it."""
    state: str = ""
    """counting, waiting (another mount brings the same), downloading, complete, streaming (it does not fit), failed;
    empty: nothing was asked for."""
    note: str = ""
    """Why, where it is not complete."""
    started: float = 0.0
    files_total: int = 0
    size_total: int = 0
    files_missing: int = 0
    """When it was counted."""
    size_missing: int = 0
    size_brought: int = 0
    files_done: int = 0
    files_gone: int = 0
    """Replaced or removed since they were counted."""
    failed: int = 0

    @property
    def is_over(self) -> bool:
        """Nothing goes on."""
        return self.state in {"complete", "streaming", "failed"}

    @property
    def size_done(self) -> int:
        """What of it is on disk."""
        return self.size_total - self.size_missing + self.size_brought

    @property
    def need(self) -> int:
        """Bytes of disk that are still to be taken, more or less."""
        files = self.files_missing * (self.size_missing - self.size_brought) // max(1, self.size_missing)
        return self.size_missing - self.size_brought + files * PLACE_IN_INDEX

    @property
    def taken(self) -> int:
        """Bytes of disk that all of it takes, more or less."""
        return self.size_total + self.files_total * PLACE_IN_INDEX

    def count(self, size: int, missing: int) -> None:
        """One more file, `missing` bytes of which are not on disk."""
        self.files_total += 1
        self.size_total += size
        self.files_missing += missing > 0
        self.files_done += missing == 0
        self.size_missing += missing

    def begin(self, now: float) -> None:
        """All is counted and fits."""
        self.state = "downloading"
        self.started = now

    def keep(self, size: int) -> None:
        """`size` more bytes are on disk."""
        self.size_brought += size

    def forget(self, size: int) -> None:
        """`size` bytes are not there to be brought any more."""
        self.size_missing -= size
        self.size_total -= size

    def complete(self) -> None:
        """It is over, and everything is on disk: what readers fetched meanwhile was not brought, and is there too."""
        self.size_brought = self.size_missing
        self.files_done = self.files_total - self.files_gone
        self.end("complete", "")

    def end(self, state: str, note: str) -> None:
        """It is over."""
        self.state = state
        self.note = note

    def describe(self, now: float) -> str:
        """Return how far it is, in a few words; empty: nothing was asked for."""
        match self.state:
            case "downloading":
                percent = 100 * self.size_done // max(1, self.size_total)
                return f"downloading {percent} %{self._left(now)}"
            case "counting":
                return f"downloading: counting, {self.files_total} files so far"
            case "waiting":
                return "downloading: another mount of this node brings the same"
            case "complete":
                return "complete, served from disk"
            case "streaming":
                return f"streaming: {self.note}"
            case "failed":
                return f"not complete, tried again by itself: {self.note}"
            case _:
                return ""

    def status(self) -> FillStatus:
        """Return the numbers for `mountd status`."""
        return FillStatus(
            ticket=self.ticket,
            state=self.state,
            note=self.note,
            bytes=self.size_done,
            bytes_total=self.size_total,
            files=self.files_done,
            files_total=self.files_total,
        )

    def does_not_fit(self, room: int) -> None:
        """It is over: there is less `room` than what is missing takes."""
        self.end("streaming", f"{format_size(self.size_total)} does not fit in {format_size(room + self.size_done)}")

    def _left(self, now: float) -> str:
        elapsed = now - self.started
        if self.size_brought * _TOLD_FROM < self.size_missing or elapsed <= 0:
            return ""
        rate = self.size_brought / elapsed
        return f", {format_duration((self.size_missing - self.size_brought) / rate)} left" if rate else ""
