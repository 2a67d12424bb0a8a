"""The control sockets in a runtime directory: made, found, swept, and who is at the other end.

`mountd.sock` belongs to the service, `private-*.sock` to a supervisor of one mount. A socket is listening from the
moment its name exists, so one that refuses connections is dead and may be removed by anyone who meets it.
"""

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from mountd.errors import BusyError, DeniedError, SetupError

SERVICE_SOCKET = "mountd.sock"
_CREDENTIALS = struct.Struct("3i")
_BACKLOG = 128


class Peer(NamedTuple):
    """Who is at the other end of a unix socket (for a client: who listened)."""

    pid: int
    uid: int
    gid: int


class _Socket(Protocol):
    """What trio's sockets and the standard library's have in common here."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


def peer_of(connection: _Socket) -> Peer:
    """Return the credentials that the kernel vouches for (SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(raw))


def trusted(peer: Peer) -> bool:
    """Only the same user and root may give orders or take credentials."""
    return peer.uid in {0, os.geteuid()}


def private_socket_name(mount_name: str) -> str:
    """Return a name for a new private socket: what it serves and a random part; even pids repeat between containers."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", mount_name)[:40]
    return f"private-{safe}-{os.urandom(6).hex()}.sock"


def mount_name_of(path: Path) -> str:
    """Return the mount that the private socket at `path` was made for, as far as its name tells."""
    return path.stem.removeprefix("private-").rpartition("-")[0]


def listen(directory: Path, name: str) -> socket.socket:
    """Return a socket that listens as `directory/name`.

    Raises:
        BusyError: another process listens there.
        SetupError: the socket cannot be made.
    """
    if (directory / name).exists() and _answers(directory / name):
        raise BusyError(f"another mountd already listens on {directory / name}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft = f".{os.urandom(6).hex()}.new"
    try:
        with _short(directory) as short:
            listener.bind(f"{short}/{draft}")
        (directory / draft).chmod(0o600)
        listener.listen(_BACKLOG)
        # The name appears only now that connections are accepted: nobody may take it for dead.
        (directory / draft).rename(directory / name)
    except OSError as error:
        listener.close()
        (directory / draft).unlink(missing_ok=True)
        raise SetupError(f"cannot listen on {directory / name}: {error.strerror}") from None
    return listener


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Return a connection to the supervisor that listens at `path`.

    Raises:
        ConnectionRefusedError: nobody listens there any more.
        FileNotFoundError: there is no such socket.
        TimeoutError: it does not accept connections.
        DeniedError: somebody else listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with _short(path.parent) as short:
            connection.connect(f"{short}/{path.name}")
        peer = peer_of(connection)
    except BlockingIOError:  # the backlog of a supervisor that hangs is full
        connection.close()
        raise TimeoutError(f"{path} does not accept connections") from None
    except BaseException:
        connection.close()
        raise
    if not trusted(peer):
        connection.close()
        raise DeniedError(f"the control socket {path} belongs to user {peer.uid}")
    return connection


def find(directories: list[Path]) -> list[Path]:
    """Return the sockets registered in `directories`, each one's by name, the service's first."""
    found = [
        path
        for directory in directories
        for path in sorted(directory.glob("*.sock"), key=lambda path: (path.name != SERVICE_SOCKET, path.name))
    ]
    return list(dict.fromkeys(found))


def sweep(path: Path) -> None:
    """Remove a socket that refused a connection; its log stays for whoever asks what happened."""
    if not _answers(path):
        path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    try:
        connect(path, 1.0).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except (OSError, DeniedError):
        return True
    return True


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    """Yield a short name for `directory`: a socket's path is limited to 107 bytes."""
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
