"""Which processes use a cache directory, told by locked files.

A process holds an exclusive `flock` on a file of its own for as long as it lives. The kernel lets go of it however the
process ends, also across PID namespaces and reboots, and whatever the clock says: what nobody holds is dead.
"""

import fcntl
import os
import secrets
from pathlib import Path


class OwnerLock:
    """The lock of this process on its own file; made and taken by the constructor."""

    def __init__(self, directory: Path) -> None:
        self.name = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._path = directory / self.name
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let go and leave nothing behind."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            self.abandon()

    def abandon(self) -> None:
        """Let go as a killed process does: the file stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_alive(directory: Path, name: str) -> bool:
    """Whether the process with the lock file `name` lives."""
    try:
        descriptor = os.open(directory / name, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def bury(directory: Path, name: str) -> None:
    """Take away the file of a dead process."""
    (directory / name).unlink(missing_ok=True)
