"""What a transfer did, for the caller to print or act on.

A report tells of every file: transferred, there already, or a problem. The number of problems is exact; their texts
are kept up to a limit, so that a million of them cost no memory.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from mountd.errors import MountdError, UnsafeError

PROBLEMS_KEPT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file that was not transferred, and why."""

    name: str
    """The object's key or the local path."""
    reason: str
    missing: bool = False
    """It was listed, and is gone."""

    @property
    def line(self) -> str:
        """The name and the reason, for people; the name once, where the reason begins with the place of that name."""
        name = printable(self.name)
        named = re.search(rf"(?:^|[ /]){re.escape(name)}: ", self.reason)
        return self.reason if named else f"{name}: {self.reason}"


@dataclass(slots=True)
class Problems:
    """Collects problems; counts them all, keeps the first `PROBLEMS_KEPT`."""

    count: int = 0
    missing: int = 0
    kept: list[Problem] = field(default_factory=list)

    def add(self, name: str, reason: str, *, missing: bool = False) -> None:
        """Note that `name` was not transferred; `missing`: there is nothing to transfer any more."""
        self.count += 1
        self.missing += missing
        if len(self.kept) < PROBLEMS_KEPT:
            self.kept.append(Problem(name=name, reason=reason, missing=missing))


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """What both directions have in common. Sizes are bytes, times seconds."""

    files: int
    """Files that are now complete at the target through this run."""
    size: int
    """Their bytes."""
    moved: int
    """Bytes that went over the wire for them: less than `size` after a resume, more when files changed under way."""
    skipped: int
    """Files left alone because something of that name was there and overwriting was not asked for."""
    seconds: float
    problem_count: int
    problems: tuple[Problem, ...]
    """The first of them."""

    @property
    def rate(self) -> float:
        """Bytes moved per second."""
        return self.moved / self.seconds if self.seconds > 0 else 0.0

    def check_complete(self, what: str) -> None:
        """Raise unless everything is where it was asked for.

        Args:
            what: names the transfer, without secrets: `download of SOURCE`.

        Raises:
            UnsafeError: there were problems.
        """
        if self.problem_count:
            first = self.problems[0]
            more = f" and {self.problem_count - 1} more" if self.problem_count > 1 else ""
            raise UnsafeError(f"{what} is not complete: {first.line}{more}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadReport(TransferReport):
    """What a download did."""

    resumed: int
    """Files that an interrupted run before this one had finished and that are still right (with overwriting only)."""
    missing_count: int
    """Problems with objects that were listed and are gone."""
    single_file: Path | None
    """The local file if SOURCE was one object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadReport(TransferReport):
    """What an upload did."""

    left_out: int
    """Local files passed over on purpose: mountd's own unfinished downloads, and the target itself inside SRC."""


def printable(name: str) -> str:
    """Return `name` on one line of valid text, odd characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)


def reason_of(error: MountdError) -> str:
    """Return the error's one line, fit to follow a name."""
    return printable(error.message)
