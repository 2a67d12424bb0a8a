"""How far the filling of the disk is: counters and words, no I/O."""

from dataclasses import dataclass

from mountd.units import format_duration

_TOLD_FROM = 50
"""The time left is told once a fiftieth is done: before that it is a guess."""


@dataclass(slots=True)
class FillProgress:
    """One fill; sizes in bytes, times in seconds of trio's clock."""

    state: str = ""
    """counting, downloading, complete, streaming (it does not fit), failed; empty: nothing was asked for."""
    note: str = ""
    """Why, where it is not complete."""
    started: float = 0.0
    files_total: int = 0
    size_total: int = 0
    size_missing: int = 0
    """When it was counted."""
    size_brought: int = 0
    files_done: int = 0
    failed: int = 0

    @property
    def active(self) -> bool:
        """Work is going on."""
        return self.state in {"counting", "downloading"}

    @property
    def size_done(self) -> int:
        """What of it is on disk."""
        return self.size_total - self.size_missing + self.size_brought

    def count(self, size: int, missing: int) -> None:
        """One more file, `missing` bytes of which are not on disk."""
        self.files_total += 1
        self.size_total += size
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
            case "complete":
                return "complete, served from disk"
            case "streaming" | "failed":
                return f"{'streaming' if self.state == 'streaming' else 'not complete'}: {self.note}"
            case _:
                return ""

    def _left(self, now: float) -> str:
        elapsed = now - self.started
        if self.size_brought * _TOLD_FROM < self.size_missing or elapsed <= 0:
            return ""
        rate = self.size_brought / elapsed
        return f", {format_duration((self.size_missing - self.size_brought) / rate)} left" if rate else ""
