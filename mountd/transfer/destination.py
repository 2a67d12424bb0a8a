"""The directory that a download fills. Blocking calls only.

Nothing is ever written outside it: a symbolic link inside it that leads elsewhere is not followed. What is there and
cannot be used (a file where a directory must be, a directory where a file must be) is left alone and reported.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mountd.errors import NotDirectoryError
from mountd.stores.base import ObjectInfo
from mountd.transfer.descriptors import Descriptors
from mountd.transfer.journal import RunJournal
from mountd.transfer.local_errors import local_error
from mountd.transfer.part import PartFile, PartPaths, write_whole
from mountd.transfer.plan import RUN_JOURNAL_NAME, Entry, PassedOver, PlannedDirectory, Refusal
from mountd.transfer.report import reason_of


class Wanted(NamedTuple):
    """A file to fetch."""

    info: ObjectInfo
    relative: str


class Present(NamedTuple):
    """A file that is there: left alone, or finished by an earlier run."""

    info: ObjectInfo
    ours: bool


class Destination:
    """A target directory, made if it is missing.

    Args:
        root: the directory.
        source: names what is downloaded, without secrets; an interrupted overwriting run goes on only for the same.
        overwrite: whether files that exist are replaced.

    Raises:
        NotDirectoryError: something else is there.
        MountdError: it cannot be made or written to.
    """

    def __init__(self, root: Path, source: str, *, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._open = Descriptors()
        self._root = root
        # Directories that are known to be inside and writable, or why they are not.
        self._directories: dict[str, str | None] = {"": None}
        self._touched = {""}  # directories whose entries are to be brought to the disk
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._real_root = root.resolve(strict=True)
            if not os.access(root, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
            self._journal = RunJournal(root / RUN_JOURNAL_NAME, source) if overwrite else None
        except FileExistsError:
            raise NotDirectoryError(f"{root} is not a directory; name one, or one that can be made") from None
        except OSError as error:
            raise local_error(error, "use as target", root) from error

    def place(self, entries: Iterable[Entry]) -> list[Wanted | Present | Refusal]:
        """Make the directories that `entries` need, and say what is to be done about each file."""
        placed: list[Wanted | Present | Refusal] = []
        for entry in entries:
            if isinstance(entry, Refusal):
                placed.append(entry)
            elif isinstance(entry, PlannedDirectory):
                reason = self._ensure(entry.relative)
                if reason is not None:
                    placed.append(Refusal(entry.relative + "/", reason))
            elif not isinstance(entry, PassedOver):
                placed.append(self._place_file(entry.info, entry.relative))
        return placed

    def paths(self, relative: str) -> PartPaths:
        """Return where the file `relative` and its unfinished forms lie."""
        return PartPaths.of(self._root / relative)

    def write(self, wanted: Wanted, data: memoryview) -> None:
        """Write a small file at once.

        Raises:
            BusyError: another process writes it.
            ExistsError: it appeared meanwhile, and overwriting is not asked for.
            OSError: the file system refuses.
        """
        final = self.paths(wanted.relative).final
        with self._open:
            self._record(wanted, write_whole(final, data, wanted.info.mtime_ns, overwrite=self._overwrite))

    def publish(self, wanted: Wanted, part: PartFile) -> None:
        """Give a large file its name; errors as in `write`."""
        with self._open:
            self._record(wanted, part.publish(overwrite=self._overwrite))

    def finish(self, *, unfinished: bool) -> None:
        """Bring the names of everything written to the disk.

        Args:
            unfinished: whether to keep what another run can go on with.

        Raises:
            MountdError: the file system refuses.
        """
        for relative in self._touched:
            self._sync_directory(self._root / relative)
        if self._journal is not None and not unfinished:
            self._journal.remove()

    def close(self) -> None:
        """Let go of the files; calls that a cancelled run left behind in threads and that come later do nothing."""
        self._open.close()
        if self._journal is not None:
            self._journal.close()

    def _record(self, wanted: Wanted, left: os.stat_result) -> None:
        self._touched.add(wanted.relative.rpartition("/")[0])
        if self._journal is not None:
            self._journal.record(wanted.relative, wanted.info.etag, left)

    def _place_file(self, info: ObjectInfo, relative: str) -> Wanted | Present | Refusal:
        reason = self._ensure(relative.rpartition("/")[0])
        if reason is not None:
            return Refusal(info.key, reason)
        path = self._root / relative
        try:
            there = path.lstat()
        except FileNotFoundError:
            return Wanted(info, relative)
        except OSError as error:
            return Refusal(info.key, reason_of(local_error(error, "write", path)))
        if stat.S_ISDIR(there.st_mode):
            return Refusal(info.key, f"a directory is at {path}")
        if self._journal is None:
            return Present(info, ours=False)
        if self._journal.holds(relative, info.etag, info.size, there):
            return Present(info, ours=True)
        return Wanted(info, relative)

    def _ensure(self, relative: str) -> str | None:
        """Make the directory `relative` and return None, or return why it cannot be used."""
        if relative not in self._directories:
            parent = relative.rpartition("/")[0]
            reason = self._ensure(parent)
            self._directories[relative] = reason if reason is not None else self._make(relative, parent)
        return self._directories[relative]

    def _make(self, relative: str, parent: str) -> str | None:
        path = self._root / relative
        try:
            path.mkdir()
        except FileExistsError:
            return self._check(path)
        except OSError as error:
            return reason_of(local_error(error, "make the directory", path))
        self._touched.add(parent)
        return None

    def _check(self, path: Path) -> str | None:
        try:
            if not path.is_dir():
                return f"{path} is in the way: it is not a directory"
            if path.is_symlink() and not path.resolve(strict=True).is_relative_to(self._real_root):
                return f"{path} is a symbolic link that leads out of the target directory"
        except OSError as error:
            return reason_of(local_error(error, "use the directory", path))
        return None

    @staticmethod
    def _sync_directory(path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return  # somebody removed it, and what was written into it: what could not be is named
        except OSError as error:
            raise local_error(error, "sync the directory", path) from error
