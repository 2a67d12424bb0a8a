"""A copy of a job's code, taken when the job is submitted: what is edited afterwards is no part of the run.

As in Azure ML, `.amlignore` in the root of the code says what is left out, and `.gitignore` where there is none, both
as git reads them. `.azureml` and `.git` never travel: one holds credentials, the other the past. Links are followed,
except into a directory that the copy is inside of already. Blocking; imports neither trio nor storage.
"""

import errno
import os
import shutil
import stat
from pathlib import Path

from pathspec import GitIgnoreSpec

from mountd.config.strict_yaml import read_text
from mountd.errors import NoRoomError, NotFoundError, UnavailableError, UsageError

SNAPSHOT = "snapshot"
"""The name of a copy that still has to go through a datastore, in the run's own directory."""

_IGNORE_FILES = (".amlignore", ".gitignore")
_NEVER = {".azureml", ".git"}
_Identity = tuple[int, int]


def copy_code(source: Path, target: Path, *, leave_out: Path) -> int:
    """Copy the directory or file `source` into `target`, which must not exist yet, and return how many files that were.

    Args:
        source: the code.
        target: the copy; a single file lies in it under its own name.
        leave_out: a directory that is never entered: the one in which runs are kept.

    Raises:
        NotFoundError: there is no `source`.
        UsageError: it cannot be read, or the ignore file is malformed.
        NoRoomError: the disk is full.
    """
    try:
        target.mkdir(mode=0o700)
        found = source.stat()
        if stat.S_ISREG(found.st_mode):
            shutil.copy(source, target / source.name)
            return 1
        if not stat.S_ISDIR(found.st_mode):
            raise UsageError(f"code {source}: is neither a directory nor a file")
        copy = _Copy(source, ignored(source), leave_out.stat())
        copy.directory(source, target, "", (_identity(found),))
    except FileNotFoundError as error:
        raise NotFoundError(f"code {error.filename or source}: there is no such file or directory") from None
    except PermissionError as error:
        raise UsageError(f"code {error.filename or source}: permission to read or copy it is missing") from None
    except OSError as error:
        kind = NoRoomError if error.errno in {errno.ENOSPC, errno.EDQUOT} else UnavailableError
        raise kind(f"code {error.filename or source}: cannot be copied to {target}: {error.strerror}") from None
    return copy.files


def is_remote_code(code: str) -> bool:
    """Tell whether `code` is a place in storage and not one of this node."""
    return "://" in code and not code.startswith("file://")


def ignored(source: Path) -> GitIgnoreSpec:
    """Return what the ignore file of the code in `source` leaves out: nothing if there is none.

    Raises:
        UsageError: it is malformed.
    """
    path = next((source / name for name in _IGNORE_FILES if (source / name).is_file()), None)
    if path is None:
        return GitIgnoreSpec.from_lines([])
    try:
        return GitIgnoreSpec.from_lines(read_text(path).splitlines())
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


class _Copy:
    def __init__(self, source: Path, spec: GitIgnoreSpec, leave_out: os.stat_result) -> None:
        self.files = 0
        self._source = source
        self._spec = spec
        self._leave_out = _identity(leave_out)

    def directory(self, source: Path, target: Path, prefix: str, above: tuple[_Identity, ...]) -> None:
        """Copy what is in `source`, which lies `prefix` below the root and inside of `above`, to `target`."""
        with os.scandir(source) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                relative = prefix + entry.name
                try:
                    found = entry.stat()
                except FileNotFoundError:
                    continue  # a link that leads nowhere, or deleted just now
                if entry.name in _NEVER and stat.S_ISDIR(found.st_mode):
                    continue
                if stat.S_ISDIR(found.st_mode):
                    self._inner(Path(entry.path), target / entry.name, f"{relative}/", found, above)
                elif stat.S_ISREG(found.st_mode) and not self._spec.match_file(relative):
                    target.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(entry.path, target / entry.name)
                    self.files += 1

    def _inner(
        self, source: Path, target: Path, prefix: str, found: os.stat_result, above: tuple[_Identity, ...]
    ) -> None:
        identity = _identity(found)
        if identity in above or identity == self._leave_out:
            return
        if not self._spec.match_file(prefix):  # in git nothing takes back in what is below a directory that is out
            self.directory(source, target, prefix, (*above, identity))


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino
