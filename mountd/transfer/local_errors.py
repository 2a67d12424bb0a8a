"""What the node's own file system answers, as errors of ours that name the path."""

import errno
import os

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
)
from mountd.transfer.report import printable

_KINDS: dict[int, tuple[type[MountdError], str]] = {
    errno.ENOSPC: (NoRoomError, "the disk is full; free some space and run the same command again"),
    errno.EDQUOT: (NoRoomError, "the disk quota is used up; free some space and run the same command again"),
    errno.EFBIG: (NoRoomError, "the file is larger than the file system or the limit of this process allows"),
    errno.EACCES: (DeniedError, "permission denied; check its owner and mode"),
    errno.EPERM: (DeniedError, "operation not permitted; check its owner, mode and attributes"),
    errno.EROFS: (ReadOnlyError, "the file system is read-only"),
    errno.ENOENT: (NotFoundError, "it does not exist"),
    errno.ENOTDIR: (NotDirectoryError, "a part of the path is not a directory"),
    errno.EISDIR: (IsDirectoryError, "a directory is there"),
    errno.EEXIST: (ExistsError, "it exists already"),
    errno.ENAMETOOLONG: (NameTooLongError, "the name or the whole path is too long for this file system"),
    errno.ELOOP: (DeniedError, "a symbolic link is there that mountd does not follow"),
}


def local_error(error: OSError, doing: str, path: str | os.PathLike[str]) -> MountdError:
    """Return the error to raise for `error`.

    Args:
        error: what the system call raised.
        doing: the verb before the path: `write`, `read`, `create`.
        path: the file, for the message.
    """
    kind, why = _look_up(error)
    return kind(f"{doing} {printable(os.fspath(path))}: {why}")


def local_reason(error: OSError) -> str:
    """Return why alone, to follow a name."""
    return _look_up(error)[1]


def _look_up(error: OSError) -> tuple[type[MountdError], str]:
    return _KINDS.get(error.errno or 0, (MountdError, error.strerror or type(error).__name__))
