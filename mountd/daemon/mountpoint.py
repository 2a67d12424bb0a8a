"""The rules for a mount point, and the lock that lets only one mount take it.

A mount point is created if it is missing and must be an empty directory with nothing alive mounted on it. The lock is
on the directory itself: it holds between users, containers and runtime directories, ends with its process, and leaves
nothing behind. Everything here blocks and may touch slow file systems: call it in a thread, with a deadline.
"""

import errno
import fcntl
import os
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

from mountd.errors import BusyError, DeniedError, MountdError, SetupError, UsageError
from mountd.fuse import mount_table

_PROBE_TIMEOUT_S = 2.0
_KINDS: dict[int, type[MountdError]] = {errno.EROFS: DeniedError, errno.ENAMETOOLONG: UsageError}
_LOCK_PATIENCE_S = 3.0
"""After `umount` from outside the supervisor needs a moment to let go: `umount X && mountd mount … X` works."""


class MountPointClaim:
    """The claim to one mount point, from `take` to `release`."""

    def __init__(self, path: str) -> None:
        """`path` is absolute and real."""
        self.path = path
        self._created = False
        self._handle: int | None = None
        self._released = False
        self._mutex = threading.Lock()  # a `take` that its caller no longer waits for may still run

    def take(self) -> None:
        """Make the mount point ready to be mounted on and keep others from it.

        Raises:
            UsageError: it is not an empty directory, or its parent does not exist.
            BusyError: something alive is mounted there, or another mountd is about to.
            DeniedError: this user may not mount there.
            SetupError: a dead mount there could not be taken away, or the directory not be made.
        """
        mount_table.heal(self.path, timeout_s=_PROBE_TIMEOUT_S)
        _refuse_mounted(self.path)
        created = _make(self.path)
        handle: int | None = None
        try:
            _check_directory(self.path)
            handle = _wait_for_lock(self.path)
            # Between the first look and the lock another mountd may have come and mounted.
            _refuse_mounted(self.path)
        except BaseException:
            _give_back(self.path, handle, created=created)
            raise
        with self._mutex:
            if not self._released:
                self._handle, self._created = handle, created
                return
        _give_back(self.path, handle, created=created)

    @property
    def held(self) -> bool:
        """Between `take` and `release`."""
        return self._handle is not None

    def release(self, *, remove_created: bool = False) -> None:
        """Let others have it; `remove_created` takes back a directory made for a mount that did not come about."""
        with self._mutex:
            self._released = True
            handle, self._handle = self._handle, None
        if handle is not None:
            _give_back(self.path, handle, created=self._created and remove_created)


def _give_back(path: str, handle: int | None, *, created: bool) -> None:
    if created:
        with suppress(OSError):
            os.rmdir(path)
    if handle is not None:
        os.close(handle)


def _refuse_mounted(path: str) -> None:
    entry = mount_table.mount_at(path)
    if entry is None:
        return
    if entry.is_fuse and mount_table.probe(path, _PROBE_TIMEOUT_S) == "silent":
        raise BusyError(f"{path} holds a mount that does not answer; take it away with `umount -l {path}` first")
    raise BusyError(f"{path} already has {entry.source} mounted on it ({entry.fstype}); unmount that first")


def _make(path: str) -> bool:
    """Create the directory if there is nothing; return whether it was created."""
    try:
        Path(path).mkdir(mode=0o755)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise UsageError(
            f"cannot make the mount point {path}: {os.path.dirname(path)} does not exist; create it first"
        ) from None
    except NotADirectoryError:
        raise UsageError(f"cannot make the mount point {path}: its parent is not a directory") from None
    except PermissionError:
        raise DeniedError(f"cannot make the mount point {path}: no permission in {os.path.dirname(path)}") from None
    except OSError as error:
        kind = _KINDS.get(error.errno or 0, SetupError)
        raise kind(f"cannot make the mount point {path}: {error.strerror}") from None
    return True


def _check_directory(path: str) -> None:
    try:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise UsageError(f"the mount point {path} is not a directory; name an empty or a new one")
        with os.scandir(path) as entries:
            first = next(entries, None)
    except PermissionError:
        raise DeniedError(f"the mount point {path} may not be read by this user") from None
    except OSError as error:
        raise SetupError(f"cannot look at the mount point {path}: {error.strerror}") from None
    if first is not None:
        raise UsageError(f"the mount point {path} is not empty (it holds {first.name!r}); name an empty or a new one")
    # Root may also mount on a read-only file system.
    if os.geteuid() != 0 and not os.access(path, os.W_OK):
        raise DeniedError(f"the mount point {path} is not writable by this user, so FUSE does not allow a mount there")


def _wait_for_lock(path: str) -> int:
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while (lock := _lock(path)) is None:
        _refuse_mounted(path)
        if time.monotonic() > deadline:
            raise BusyError(f"another mountd is about to mount at {path}; wait for it, or choose another mount point")
        threading.Event().wait(0.05)
    return lock


def _lock(path: str) -> int | None:
    """Return the descriptor that holds the lock, or None if another process has it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise SetupError(f"cannot open the mount point {path}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        # Some network file systems cannot lock a directory; mountinfo alone must do there.
        if error.errno not in {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
            os.close(handle)
            raise SetupError(f"cannot lock the mount point {path}: {error.strerror}") from None
    return handle
