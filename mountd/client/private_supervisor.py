"""Starts a supervisor of its own for one mount, as a program, and hands back the connection to it.

The supervisor outlives this process: its own session, the root directory as working directory, a log file instead of
the terminal, and no descriptor of ours but the connection.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

from mountd.errors import SetupError
from mountd.wire.runtime_directory import runtime_directory
from mountd.wire.sockets import private_socket_name

_DETACHED_WITHIN_S = 15.0
_LOGS_KEPT = 50

_SECRET_VARIABLES = ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN")
"""Resolved before the mount is asked for; a process that lives for weeks need not carry them."""


def start(name: str) -> tuple[socket.socket, Path]:
    """Start a supervisor for the mount `name`; return the connection to it and its log file.

    Raises:
        SetupError: it could not be started.
    """
    directory = runtime_directory()
    socket_name = private_socket_name(name)
    log = _log_file(directory, socket_name)
    environment = {key: value for key, value in os.environ.items() if key not in _SECRET_VARIABLES}
    command = [sys.executable, "-P", "-m", "mountd.daemon", "private", str(directory), socket_name, str(log)]
    ours, theirs = socket.socketpair()
    try:
        with theirs, open(log, "ab", opener=_private_opener) as output:
            process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                env=environment,
            )
        try:
            # It forks at once and this one ends: no child of ours is left to be reaped.
            status = process.wait(_DETACHED_WITHIN_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
    except (OSError, subprocess.SubprocessError) as error:
        ours.close()
        raise SetupError(f"cannot start a mountd supervisor: {error}") from None
    except BaseException:
        ours.close()
        raise
    if status != 0:
        ours.close()
        raise SetupError(f"the mountd supervisor ended with exit status {status} at its start; see {log}")
    return ours, log


def _private_opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _log_file(directory: Path, socket_name: str) -> Path:
    """Return the path of a new log; of the old ones, which tell of mounts that ended badly, the newest stay."""
    logs = directory / "logs"
    try:
        logs.mkdir(mode=0o700, exist_ok=True)
        old = sorted(logs.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in old[_LOGS_KEPT:]:
            if not (directory / path.with_suffix(".sock").name).exists():
                path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass  # another mountd is cleaning up too
    except OSError as error:
        raise SetupError(f"cannot make the log directory {logs}: {error.strerror}") from None
    return logs / f"{socket_name.removesuffix('.sock')}.log"
