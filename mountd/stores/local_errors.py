"""What the operating system's errors mean for a local store."""

import errno
import os
from pathlib import Path

from mountd.errors import (
    DeniedError,
    ExistsError,
    IsDirectoryError,
    MountdError,
    NameTooLongError,
    NoRoomError,
    NotDirectoryError,
    NotFoundError,
    ReadOnlyError,
    UnavailableError,
)

_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO}


def reading(error: OSError, what: str) -> MountdError:
    """Return what `error` means for `what`, a call that reads."""
    if error.errno in _NOTHING_THERE:
        return NotFoundError(f"{what}: no such file")
    if error.errno == errno.EISDIR:
        return IsDirectoryError(f"{what}: a directory, not a file")
    return _other(error, what)


def writing(error: OSError, what: str) -> MountdError:
    """Return what `error` means for `what`, a call that writes."""
    match error.errno:
        case errno.EEXIST:
            return ExistsError(f"{what}: it exists already; allow overwriting or choose another name")
        case errno.EISDIR:
            return IsDirectoryError(f"{what}: a directory has this name; choose another")
        case errno.ENOTDIR:
            return NotDirectoryError(f"{what}: a part of the path is a file; choose another name")
        case errno.ENAMETOOLONG:
            return NameTooLongError(f"{what}: the name is too long for this file system; choose a shorter one")
        case errno.ENOSPC | errno.EDQUOT:
            return NoRoomError(f"{what}: the file system is full; free some space")
        case errno.EROFS:
            return ReadOnlyError(f"{what}: the file system is mounted read-only")
    return _other(error, what)


def root_missing(path: bytes) -> MountdError:
    """Return the error for a store whose directory is not there."""
    shown = Path(os.fsdecode(path))
    if shown.exists():
        return NotDirectoryError(f"{shown}: not a directory; a local store is a directory")
    return NotFoundError(f"{shown}: no such directory; create it or correct the path")


def _other(error: OSError, what: str) -> MountdError:
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in {errno.EACCES, errno.EPERM}:
        return DeniedError(f"{what}: {reason}; check its owner and mode")
    return UnavailableError(f"{what}: {reason}")
