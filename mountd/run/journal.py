"""Keeps the record of one run, by the process that carries the run out, and holds the lock that says it is alive.

The lock belongs to an open file description: a submitter makes the record, hands the description to the run's process,
and there is no moment at which nobody holds it. Once the run has begun nothing here may end it: a record that cannot be
written any more (a full disk) is said once in the log, which may be as full, and the run goes on. Blocking; imports
neither trio nor storage.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import msgspec

from mountd.catalog.atomic_files import DIRECTORY_MODE, file_errors, write_file
from mountd.catalog.workspace import Workspace
from mountd.errors import ExistsError
from mountd.observe.redaction import redact
from mountd.run.failures import ERROR_MARK
from mountd.run.record import LOCK, RECORD, RunRecord, encode_record, log_path, runs_directory


def make_identifier(experiment: str) -> str:
    """Return a new run identifier, as Azure ML makes them: experiment, seconds since 1970 and a random part."""
    return f"{experiment}_{int(time.time())}_{secrets.token_hex(4)}"


class Journal:
    """The record and the log of one run."""

    def __init__(self, directory: Path, record: RunRecord, lock: int) -> None:
        """Take over `lock`, a descriptor of the run's locked file."""
        self.directory = directory
        self._record = record
        self._lock = lock
        self._log: TextIO | None = None
        self._trouble: str | None = None
        self._errors: list[str] = []

    @classmethod
    def create(cls, workspace: Workspace, record: RunRecord) -> "Journal":
        """Make the directory of a new run, with `record` in it.

        Raises:
            ExistsError: there is a run of that identifier.
            MountdError: the workspace cannot be written to.
        """
        runs = runs_directory(workspace)
        directory = Path(os.path.realpath(runs)) / record.id
        with file_errors(directory):
            runs.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            try:
                directory.mkdir(mode=DIRECTORY_MODE)
            except FileExistsError:
                raise ExistsError(f"run {record.id}: exists in {workspace.root}; choose another name") from None
            lock = -1
            try:
                log_path(directory).parent.mkdir(mode=DIRECTORY_MODE)
                lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                journal = cls(directory, msgspec.structs.replace(record, host=socket.gethostname()), lock)
                journal._write()
            except BaseException:
                if lock >= 0:
                    os.close(lock)
                shutil.rmtree(directory, ignore_errors=True)  # no run: nothing of it is left
                raise
        return journal

    @classmethod
    def adopt(cls, directory: Path, lock: int) -> "Journal":
        """Take over the run in `directory` from the process that made it, with the lock it holds."""
        os.set_inheritable(lock, False)
        return cls(directory, msgspec.json.decode((directory / RECORD).read_bytes(), type=RunRecord), lock)

    @property
    def record(self) -> RunRecord:
        """The record as it was last written."""
        return self._record

    @property
    def trouble(self) -> str | None:
        """Why the record could not be written, if so: what `runs` shows of the run is not how it ended."""
        return self._trouble

    @property
    def errors(self) -> list[str]:
        """The lines of the log that say what went wrong with the run, without what its command wrote."""
        return self._errors

    @property
    def lock(self) -> int:
        """The descriptor to hand to the process that adopts the run."""
        return self._lock

    def update(self, **changes: Any) -> None:
        """Change fields of the record; said once in the log if they cannot be written."""
        self._record = msgspec.structs.replace(self._record, **changes)
        try:
            self._write()
        except OSError as error:
            if self._trouble is None:
                self._trouble = error.strerror or str(error)
                self.say(f"mountd: warning: the record of the run cannot be written: {self._trouble}")

    def seen(self) -> None:
        """Note that the run is alive."""
        with contextlib.suppress(OSError):
            os.utime(self._lock)

    def end(self, **changes: Any) -> None:
        """Write the last state and let go of the lock; nothing follows it."""
        self.update(ended=time.time(), pid=None, **changes)
        self.close()

    def close(self) -> None:
        """Let go of the lock, which another process may go on holding."""
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.close()
            self._log = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def open_log(self) -> int:
        """Return a descriptor that appends to the run's log, for the command; the caller closes it.

        Raises:
            OSError: the log cannot be written.
        """
        return os.open(log_path(self.directory), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def say(self, line: str) -> None:
        """Append `line` to the run's log, without secrets."""
        line = redact(line)
        if line.startswith(ERROR_MARK):
            self._errors.append(line)
        with contextlib.suppress(OSError):  # a full disk: the run matters more than its log
            if self._log is None:
                self._log = os.fdopen(self.open_log(), "w", encoding="utf-8", errors="backslashreplace")
            self._log.write(line + "\n")
            self._log.flush()

    def also(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Return a function that says a line to `say` and to the log."""

        def both(line: str) -> None:
            say(line)
            self.say(line)

        return both

    def _write(self) -> None:
        write_file(self.directory / RECORD, encode_record(self._record), overwrite=True)
