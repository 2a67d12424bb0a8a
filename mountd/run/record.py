"""What is known of a run, in its directory `.azureml/runs/<id>/`, for whoever looks at it.

```
run.json                  the record
.alive                    locked by the run's process for as long as it lives, and touched every few seconds
.canceled                 there once somebody wants the run to end, within half a minute
metrics.jsonl, tags.jsonl what the command said of itself (`run.metrics`)
user_logs/std_log.txt     the run's log and, in a job, the command's output
code/                     the working directory of a job
inputs/, outputs/         data that was given no other place
```

A record is replaced whole, so it can be read at any time. One that says the run goes on although nobody holds the lock
is of a run whose process was killed: it is shown as failed. Blocking; imports neither trio nor storage.
"""

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from mountd.catalog.workspace import Workspace
from mountd.catalog.workspace_layout import denied, file_kind
from mountd.errors import NotFoundError, UsageError

RECORD = "run.json"
LOCK = ".alive"
CANCELED = ".canceled"
RUN_DIRECTORY_VARIABLE = "MOUNTD_RUN_DIRECTORY"
"""Tells the command of a run where its record is."""
RUN_ID_VARIABLE = "MOUNTD_RUN_ID"

Status = Literal["NotStarted", "Preparing", "Running", "Finalizing", "Completed", "Failed", "Canceled"]
"""Azure ML's words: waiting for its process, fetching inputs, in the command, uploading, and the three ends."""

_OVER: tuple[Status, ...] = ("Completed", "Failed", "Canceled")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_INTERRUPTED = "interrupted: the process of the run is gone"


class DataRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output."""

    name: str
    mode: str
    place: str
    """SOURCE or TARGET, without secrets."""
    path: str | None = None
    """Where the command finds or leaves it, once that is known."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Times are seconds since 1970."""

    id: str
    experiment: str
    status: Status
    created: float
    started: float | None = None
    """When the command started."""
    ended: float | None = None
    exit_code: int | None = None
    """Of `mountd run`; the command's own where it was started."""
    error: str | None = None
    """Why the run failed, one line."""
    command: str = ""
    """As given, without secrets."""
    inputs: tuple[DataRecord, ...] = ()
    outputs: tuple[DataRecord, ...] = ()
    display_name: str | None = None
    description: str | None = None
    tags: dict[str, str] = {}
    host: str = ""
    pid: int | None = None
    """Of the process that carries the run out, while it does."""
    code: str | None = None
    """What was copied to be the working directory."""
    killed: bool = False
    """Its process is gone without a word; `ended` is when it was last seen alive. Never written, only read."""

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, one way or another."""
        return self.status in _OVER

    def duration_s(self, now: float) -> float | None:
        """Return the time from the command's start to the run's end, or to `now`; None if it was never started."""
        if self.started is None:
            return None
        return max(0.0, (now if self.ended is None else self.ended) - self.started)


def encode_record(record: RunRecord) -> bytes:
    """Return what is written of `record`; words and paths that are not UTF-8 are shown with backslashes."""
    return msgspec.json.format(msgspec.json.encode(_shown(msgspec.to_builtins(record)))) + b"\n"


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_shown(key): _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list | tuple) else value


def runs_directory(workspace: Workspace) -> Path:
    """Return where the directories of a workspace's runs are; it may not exist."""
    return workspace.directory / "runs"


def run_directory(workspace: Workspace, identifier: str) -> Path:
    """Return the directory of the run `identifier`.

    Raises:
        NotFoundError: there is no such run.
    """
    directory = runs_directory(workspace) / identifier
    if not _IDENTIFIER.fullmatch(identifier) or file_kind(directory / RECORD) != stat.S_IFREG:
        raise NotFoundError(f"run {identifier}: there is none in {workspace.root}; `mountd runs list` shows what is")
    return directory


def log_path(directory: Path) -> Path:
    """Return where the log of the run in `directory` is."""
    return directory / "user_logs" / "std_log.txt"


def read_record(directory: Path) -> RunRecord:
    """Return the record of the run in `directory`, as failed if its process was killed.

    Raises:
        NotFoundError: there is none.
        UsageError: it is damaged.
    """
    record = _read(directory)
    if record.is_over or _is_alive(directory):
        return record
    record = _read(directory)  # it may have ended in between
    if record.is_over:
        return record
    seen = _last_sign(directory)
    error = f"{_INTERRUPTED}; it was last seen alive at {datetime.fromtimestamp(seen, UTC):%Y-%m-%d %H:%M:%SZ}"
    return msgspec.structs.replace(record, status="Failed", error=error, ended=seen, pid=None, killed=True)


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        return os.scandir(directory)
    except PermissionError:
        raise denied(directory) from None


def list_records(workspace: Workspace) -> list[RunRecord]:
    """Return the runs of `workspace`, the newest first; one whose record is damaged is shown as failed."""
    records = []
    with contextlib.suppress(FileNotFoundError):
        for entry in _entries(runs_directory(workspace)):
            directory = Path(entry.path)
            try:
                records.append(read_record(directory))
            except NotFoundError:
                continue  # about to be made, or half removed
            except UsageError as error:
                created = entry.stat().st_mtime
                records.append(
                    RunRecord(id=entry.name, experiment="", status="Failed", created=created, error=str(error))
                )
    return sorted(records, key=lambda record: (record.created, record.id), reverse=True)


def _read(directory: Path) -> RunRecord:
    path = directory / RECORD
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"{path}: there is no such run") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise UsageError(f"{path}: is not the record of a run") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _is_alive(directory: Path) -> bool:
    """Tell whether somebody holds the run's lock."""
    try:
        lock = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return True  # no locks on this file system: nobody can tell
    finally:
        os.close(lock)
    return False


def _last_sign(directory: Path) -> float:
    """Return when the run last wrote to its log or record, or said that it is alive."""
    times = []
    for path in (log_path(directory), directory / RECORD, directory / LOCK):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)
