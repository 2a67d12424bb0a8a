"""Counts what becomes of the files of one run, and ends the run when failures show that it cannot go on."""

from mountd.errors import GoneError, MountdError, NoRoomError, NotFoundError
from mountd.transfer.progress import Progress
from mountd.transfer.report import Problems, reason_of


class Tally:
    """One run's results so far.

    Args:
        progress: is moved on by files.
        failures_in_a_row: so many failures with nothing between that went well end the run.
        telling: the failures that count for that: those that tell of the store, not of the one file.
    """

    def __init__(self, progress: Progress, failures_in_a_row: int, telling: tuple[type[MountdError], ...]) -> None:
        self.progress = progress
        self.problems = Problems()
        self.files = 0
        self.size = 0
        self.skipped = 0
        self.resumed = 0
        self.unfinished = False
        """Whether a file failed that another run may well transfer."""
        self._limit = failures_in_a_row
        self._telling = telling
        self._failures = 0
        self._moved_before = progress.moved

    @property
    def moved(self) -> int:
        """Bytes over the wire since the run began."""
        return self.progress.moved - self._moved_before

    def finish(self, name: str, size: int) -> None:
        """Count a file as transferred."""
        self.files += 1
        self.size += size
        self._failures = 0
        self.progress.finished(name)

    def skip(self, name: str) -> None:
        """Count a file as left alone."""
        self.skipped += 1
        self.progress.left_alone(name)

    def refuse(self, name: str, reason: str, *, missing: bool = False) -> None:
        """Count a file that cannot be transferred, whoever tries; `missing`: it is not there any more."""
        self.problems.add(name, reason, missing=missing)
        self.progress.failed += 1

    def fail(self, name: str, error: MountdError) -> None:
        """Count a file that failed.

        Raises:
            MountdError: `error` itself, if the run cannot go on.
        """
        self.unfinished = True
        if isinstance(error, NoRoomError):
            raise error
        self.refuse(name, reason_of(error), missing=isinstance(error, NotFoundError | GoneError))
        if isinstance(error, self._telling):
            self._failures += 1
            if self._failures >= self._limit:
                raise error
