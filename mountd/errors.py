"""Every error mountd raises on purpose, and what each one means outside Python.

MountdError                       exit 1  EIO
├── UsageError                    exit 2  EINVAL      the caller can fix it: bad input, bad configuration
├── NotFoundError                 exit 3  ENOENT      no such object, container, datastore, mount
│   └── IsDirectoryError          exit 3  EISDIR      a file was needed and a directory is there
├── DeniedError                   exit 4  EACCES      credentials missing, wrong, or not enough
├── UnavailableError              exit 5  EIO         the store is unreachable, throttles or fails; worth a retry
│   ├── UnreachableError          exit 5  EIO         no connection to the store comes about at all
│   └── DeadlineError             exit 5  EIO         the time allowed for all tries is over
├── NoRoomError                   exit 5  ENOSPC      memory or disk does not allow it
├── ChangedError                  exit 5  ESTALE      the object is no longer the version that was asked for
│   └── GoneError                 exit 5  ESTALE      there is no version of it any more, and there has to be
├── CorruptError                  exit 5  EIO         a length or checksum is not what it must be
│   └── NonsenseError             exit 5  EIO         an answer that no server of the right kind gives
├── BusyError                     exit 6  EBUSY       in use by somebody else
├── UnsafeError                   exit 7  EIO         data is not where it was promised
├── ExistsError                   exit 6  EEXIST      something is there already
├── ReadOnlyError                 exit 4  EROFS       this mount or store is not written to
├── NotDirectoryError             exit 3  ENOTDIR
├── NameTooLongError              exit 2  ENAMETOOLONG
├── StaleHandleError              exit 5  ESTALE      an inode or handle of a version that is gone
└── SetupError                    exit 5  EIO         a step of the set-up failed; names the step and the fix

A message is one line: what failed, on what, why, what to do. It never holds a secret.
Errors become an errno in `fuse.convert` alone and an exit code in `cli.main` alone.
"""

import errno as _errno
from typing import ClassVar


class MountdError(Exception):
    """Base of the tree above; raised itself only for faults of mountd's own.

    `hint` is for who typed a command, and no part of the text: programs get the text alone where they parse it.
    """

    errno: ClassVar[int] = _errno.EIO
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, text: str = "", *, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint

    @property
    def text(self) -> str:
        """The one line without the hint, printable anywhere: names need not be UTF-8."""
        return " ".join(str(self).split()).encode("utf-8", "backslashreplace").decode()

    @property
    def message(self) -> str:
        """The one line meant for people, with the hint."""
        return f"{self.text} {self.hint}" if self.hint else self.text


class UsageError(MountdError):
    """The caller can fix it: bad input or configuration."""

    errno = _errno.EINVAL
    exit_code = 2


class NotFoundError(MountdError):
    """There is no such object, container, datastore or mount."""

    errno = _errno.ENOENT
    exit_code = 3


class IsDirectoryError(NotFoundError):
    """There is no file of that name, because a directory has it."""

    errno = _errno.EISDIR


class DeniedError(MountdError):
    """Credentials are missing, wrong, or not enough."""

    errno = _errno.EACCES
    exit_code = 4


class UnavailableError(MountdError):
    """The store cannot be reached, throttles or fails; the same request may succeed later.

    `retry_after_s` is what the store asked for, in seconds, when it said so.
    """

    exit_code = 5
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnreachableError(UnavailableError):
    """No connection comes about: it is refused, or there is no host of that name."""


class DeadlineError(UnavailableError):
    """The time allowed for all tries together is over."""

    retryable = False


class NoRoomError(MountdError):
    """Memory or disk does not allow it."""

    errno = _errno.ENOSPC
    exit_code = 5


class ChangedError(MountdError):
    """The object is no longer the version that was asked for (HTTP 412)."""

    errno = _errno.ESTALE
    exit_code = 5


class GoneError(ChangedError):
    """A dataset promises a version of the object, and the object was deleted."""


class CorruptError(MountdError):
    """A length or checksum is not what it must be."""

    exit_code = 5
    retryable = True


class NonsenseError(CorruptError):
    """An answer came whole and does not fit any request of ours: it is worth a few more tries, not a minute of them."""


class BusyError(MountdError):
    """Somebody else uses it."""

    errno = _errno.EBUSY
    exit_code = 6


class ExistsError(MountdError):
    """Something of that name is there already."""

    errno = _errno.EEXIST
    exit_code = 6


class UnsafeError(MountdError):
    """Data is not where it was promised; it is kept and shown."""

    exit_code = 7


class ReadOnlyError(MountdError):
    """This mount or store is not written to."""

    errno = _errno.EROFS
    exit_code = 4


class NotDirectoryError(MountdError):
    """A directory was needed and a file is there."""

    errno = _errno.ENOTDIR
    exit_code = 3


class NameTooLongError(MountdError):
    """A name has more than 255 bytes."""

    errno = _errno.ENAMETOOLONG
    exit_code = 2


class StaleHandleError(MountdError):
    """An inode or handle stands for a version that can no longer be read."""

    errno = _errno.ESTALE
    exit_code = 5


class SetupError(MountdError):
    """A step of the set-up failed; the message names the step and the fix."""

    exit_code = 5
