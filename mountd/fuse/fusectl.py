"""The kernel's files for each FUSE connection, also where nobody mounted them.

`/sys/fs/fuse/connections` is often empty in containers. Whoever may mount can have the same file system (fusectl)
detached: reachable through a descriptor, and in no mount table.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONNECTIONS = Path("/sys/fs/fuse/connections")

# The same numbers on every architecture that Python's wheels know (Linux 5.2).
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6


def write(minor: int, name: str, value: int) -> None:
    """Write `value` to the file `name` of the connection with this minor device number.

    Raises:
        OSError: not allowed, or the kernel is too old.
    """
    path = CONNECTIONS / str(minor) / name
    if path.exists():
        path.write_text(str(value), encoding="ascii")
        return
    with _detached() as mount:
        file = os.open(f"{minor}/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=mount)
        try:
            os.write(file, str(value).encode("ascii"))
        finally:
            os.close(file)


@contextmanager
def _detached() -> Iterator[int]:
    """Yield a descriptor of the root of a fusectl that is mounted nowhere."""
    context = _call(_FSOPEN, b"fusectl", _FSOPEN_CLOEXEC)
    try:
        _call(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        mount = _call(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        yield mount
    finally:
        os.close(mount)


def _call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
