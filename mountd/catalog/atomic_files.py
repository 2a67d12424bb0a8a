"""Small files written whole or not at all, readable by their owner only.

A file is written beside its final place, flushed to disk and renamed; a failure leaves neither the new file nor a
part of it. Who writes a file anew from what was in it takes turns with all others. Blocking: for the command line and
start-up.
"""

import contextlib
import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mountd.errors import DeniedError, NoRoomError, ReadOnlyError, UnavailableError, UsageError

DIRECTORY_MODE = 0o700


def write_file(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write `data` to `path`, mode 0600.

    Raises:
        FileExistsError: `overwrite` is false and `path` is taken.
        OSError: the file system refused.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp's mode is 0600
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            Path(temporary).replace(path)
        else:
            os.link(temporary, path)  # unlike rename, refuses a name that is taken
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
    sync_directory(path.parent)


def write_json(path: Path, value: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write `value` to `path` for people to read; otherwise as `write_file`."""
    write_file(path, json.dumps(value, indent=2).encode() + b"\n", overwrite=overwrite)


@contextlib.contextmanager
def in_turn(lock: Path) -> Iterator[None]:
    """Let one at a time do the block: a file made at `lock`, and left there, is locked; it is let go with its holder.

    A file system without locks is as if nobody else were there.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Flush the names in `path` to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses in the block into one line about `path` or the file it names."""
    try:
        yield
    except PermissionError as error:
        raise DeniedError(f"{error.filename or path}: permission to write it is missing") from None
    except (NotADirectoryError, FileExistsError) as error:
        raise UsageError(f"{error.filename or path}: cannot be made, a file is in the way") from None
    except OSError as error:
        kind = {errno.ENOSPC: NoRoomError, errno.EDQUOT: NoRoomError, errno.EROFS: ReadOnlyError}.get(error.errno or 0)
        raise (kind or UnavailableError)(f"{error.filename or path}: {error.strerror}") from None
