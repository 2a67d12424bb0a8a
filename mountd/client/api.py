"""Mount, unmount and look, for programs and the command line: blocking, each call within a deadline of its own.

A running service does it if there is one; otherwise each mount gets a private supervisor. `list_mounts`, `status` and
`unmount` see the mounts of all supervisors of this user. Nothing here imports the daemon, trio or a storage library.
"""

import itertools
import os
import re
import secrets
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from mountd.client import private_supervisor
from mountd.client.patterns import below_mount
from mountd.client.session import Session, SupervisorGoneError, SupervisorSilentError
from mountd.errors import (
    BusyError,
    DeadlineError,
    ExistsError,
    MountdError,
    NotFoundError,
    SetupError,
    UnavailableError,
    UsageError,
)
from mountd.fuse import mount_table
from mountd.modes.mount_spec import MountSpec
from mountd.wire import sockets
from mountd.wire.codec import pack
from mountd.wire.messages import (
    Done,
    ListMounts,
    Mount,
    Mounted,
    MountRecord,
    Mounts,
    Prefetch,
    Reply,
    Request,
    Status,
    Unmount,
)
from mountd.wire.runtime_directory import known_directories

_MOUNT_S = 50.0
"""More than the supervisor allows the set-up and its undoing."""
_LOOK_S = 4.0
"""More than the supervisor allows its workers."""
_PREFETCH_S = 35.0
"""More than the supervisor waits for a worker that is being replaced."""
_UNMOUNT_S = 60.0
_EXIT_S = 5.0
_PATH_S = 5.0
_PROBE_S = 2.0
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")

T = TypeVar("T")


class _Answer(NamedTuple):
    """What one supervisor said."""

    socket: Path
    records: list[MountRecord]


def mount(spec: MountSpec, *, owner_pid: int | None = None) -> MountRecord:
    """Mount `spec` and return its record once a stat through the mount has answered.

    With `owner_pid` it is unmounted when that process of this node ends, however it ends and whoever uses it then.

    Raises:
        BusyError: a mount of this user that is being mended has the mount point.
        MountdError: it did not come about; nothing of it is left.
    """
    there = _owner(_ask_all(ListMounts())[0], spec.mountpoint)
    if there is not None and there[1].state == "failed":  # nobody mends it any more
        unmount(spec.mountpoint, lazy=True)
    elif there is not None and _is_dead(spec.mountpoint):
        source, state = there[1].source, there[1].state
        raise BusyError(f"{spec.mountpoint} already has {source} mounted on it ({state}); unmount that first")
    request = Mount(spec=pack(spec), owner_pid=owner_pid)
    for directory in known_directories():
        reply = _ask(directory / sockets.SERVICE_SOCKET, request, _MOUNT_S)
        if reply is not None:
            return _mounted(reply)
    connection, log = private_supervisor.start(spec.name)
    with Session(connection, timeout_s=_MOUNT_S) as session:
        try:
            return _mounted(session.ask(request))
        except (SupervisorSilentError, SupervisorGoneError) as error:
            raise SetupError(f"cannot mount {spec.location.source}: {error.message}; see {log}") from None


def unmount(mountpoint: str | Path, *, lazy: bool = False) -> str:
    """End the mount at `mountpoint`; returns when it and the processes that served it alone are gone.

    With `lazy`, returns when the mount point is free; what is open is served to its end. So it is where the mount was
    bound to, and in mount namespaces that have it: then what is returned says so, else it is empty.

    Raises:
        NotFoundError: nothing is mounted there.
        BusyError: somebody uses it; says who.
        MountdError: it could not be unmounted.
    """
    path = real_mountpoint(mountpoint)
    answers, silent = _ask_all(ListMounts())
    owner = _owner(answers, path)
    if owner is None:
        _unmount_unowned(path, lazy=lazy, silent=silent)
        return ""
    socket, record = owner
    gone = _watch_exit(record.supervisor_pid) if record.private else None
    try:
        reply = _ask(socket, Unmount(mountpoint=path, lazy=lazy), _UNMOUNT_S)
        if reply is None:
            raise UnavailableError(f"the mountd supervisor of {path} has just ended; look with `mountd list`")
    except MountdError:
        if gone is not None:
            os.close(gone)
        raise
    note = reply.note if isinstance(reply, Done) else ""
    if gone is not None:
        _wait_exit(gone, 0.5 if lazy or note else _EXIT_S)
    return note


def prefetch(mountpoint: str | Path, patterns: list[str], *, pin: bool = False) -> str:
    """Begin to bring to disk what `patterns` name below `mountpoint`, all of it if there are none.

    Returns at once, with the ticket by which the statistics of the mount say how far it is.

    Raises:
        NotFoundError: nothing of this user's is mounted there.
        BusyError: the mount is not ready, and did not become so in half a minute.
    """
    path = real_mountpoint(mountpoint)
    answers, _ = _ask_all(ListMounts())
    owner = _owner(answers, path)
    if owner is None:
        raise NotFoundError(f"no mount of yours is at {path}; `mountd list` shows what there is")
    ticket = secrets.token_hex(8)
    below = below_mount(patterns, path, real_mountpoint)
    request = Prefetch(mountpoint=path, patterns=below, pin=pin, ticket=ticket)
    if _ask(owner[0], request, _PREFETCH_S) is None:
        raise UnavailableError(f"the mountd supervisor of {path} has just ended; look with `mountd list`")
    return ticket


def being_mended(path: str) -> MountRecord | None:
    """Return the mount of this user at `path`, absolute and real, whose worker has died and is being replaced.

    What it has left there is an error to readers. It must not be taken away: an empty directory would be none.
    """
    if not _is_dead(path):
        return None
    answers, _ = _ask_all(ListMounts())
    owner = _owner(answers, path)
    return None if owner is None else owner[1]


def list_mounts() -> list[MountRecord]:
    """Return all mounts of this user, by mount point, without asking what serves them how it is."""
    answers, silent = _ask_all(ListMounts())
    return _sorted(answers, silent)


def status(mountpoint: str | Path | None = None) -> list[MountRecord]:
    """Return all mounts of this user, or the one at `mountpoint`, with statistics.

    A worker or supervisor that does not answer within seconds is in the state `not answering`.

    Raises:
        NotFoundError: nothing of this user's is mounted at `mountpoint`.
    """
    path = None if mountpoint is None else real_mountpoint(mountpoint)
    answers, silent = _ask_all(Status())
    records = _sorted(answers, silent)
    if path is None:
        return records
    records = [record for record in records if record.mountpoint == path]
    if not records and _is_dead(path):
        raise NotFoundError(
            f"nothing serves the mount at {path} any more; `mountd unmount {path}` takes away what is left of it"
        )
    if not records:
        hint = f"; {len(silent)} supervisors did not answer" if silent else ""
        raise NotFoundError(f"no mount of yours is at {path}{hint}; `mountd list` shows what there is")
    return records


def free_name(wanted: str | None, mountpoint: str) -> str:
    """Return the name for a new mount: `wanted`, or the last part of the mount point, with a number if that is taken.

    Raises:
        UsageError: `wanted` is no name.
        ExistsError: `wanted` is taken.
    """
    taken = {record.name for record in list_mounts()}
    if wanted is not None:
        if not _NAME.fullmatch(wanted):
            raise UsageError(f"--name {wanted!r}: use letters, digits and . _ - only, at most 64")
        if wanted in taken:
            raise ExistsError(f"--name {wanted}: another mount has this name; choose another or unmount that first")
        return wanted
    base = os.path.basename(mountpoint) or "root"
    names = (base if number == 1 else f"{base}-{number}" for number in itertools.count(1))
    return next(name for name in names if name not in taken)


def real_mountpoint(path: str | Path) -> str:
    """Return `path` absolute and with links resolved, without touching what is mounted there.

    Raises:
        UsageError: it is empty, holds control characters or is not UTF-8.
        DeadlineError: a file system on the way does not answer.
    """
    given = os.fspath(path)
    if not given:  # a variable that is not set, more likely than the current directory
        raise UsageError("the mount point is empty; name a directory")
    # An absolute one is good in a current directory that has been deleted, too.
    written = (given if os.path.isabs(given) else os.path.join(os.getcwd(), given)).rstrip("/") or "/"
    if "\0" in written or not written.isprintable():
        # It travels in messages and is printed; a name that is not UTF-8 decodes to what is not printable.
        raise UsageError(f"the mount point {written!r} holds characters that cannot be shown; choose another")
    if mount_table.mount_at(written) is not None:
        return written
    parent, name = os.path.split(written)
    if name in {".", "..", ""}:
        return _within(_PATH_S, lambda: os.path.realpath(written), f"{path} cannot be looked up")
    real = os.path.join(_within(_PATH_S, lambda: os.path.realpath(parent), f"{path} cannot be looked up"), name)
    if mount_table.mount_at(real) is not None:
        return real
    return _within(_PATH_S, lambda: os.path.realpath(real), f"{path} cannot be looked up")


def _mounted(reply: Reply) -> MountRecord:
    if not isinstance(reply, Mounted):
        raise MountdError(f"the supervisor answered a mount with {type(reply).__name__}")
    return reply.record


def _ask(socket: Path, request: Request, timeout_s: float) -> Reply | None:
    """Return the reply of the supervisor at `socket`, None if there is none any more."""
    try:
        connection = sockets.connect(socket, timeout_s)
    except FileNotFoundError:
        return None
    except ConnectionRefusedError:
        sockets.sweep(socket)
        return None
    except TimeoutError:
        raise SupervisorSilentError(f"the mountd supervisor at {socket} does not accept connections") from None
    except OSError as error:
        raise SupervisorSilentError(f"the mountd supervisor at {socket} cannot be reached: {error.strerror}") from None
    with Session(connection, timeout_s=timeout_s) as session:
        return session.ask(request)


def _ask_all(request: ListMounts | Status) -> tuple[list[_Answer], list[MountRecord]]:
    """Return what all supervisors say, and a record for each of those that do not."""
    found = sockets.find(known_directories())
    answers: list[_Answer] = []
    silent: list[MountRecord] = []

    def ask(socket: Path) -> None:
        try:
            reply = _ask(socket, request, _LOOK_S)
        except SupervisorGoneError:
            pass  # it was about to end
        except MountdError as error:
            silent.append(_silent_record(socket, error))
        else:
            if isinstance(reply, Mounts):
                answers.append(_Answer(socket, reply.records))

    threads = [threading.Thread(target=ask, args=(socket,), daemon=True) for socket in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()  # each ends by its own deadline
    return answers, silent


def _is_dead(path: str) -> bool:
    """Say whether a mount is at `path` that nothing serves."""
    return mount_table.mount_at(path) is not None and mount_table.probe(path, _PROBE_S) == "dead"


def _owner(answers: list[_Answer], path: str) -> tuple[Path, MountRecord] | None:
    """Return the mount that has the mount point `path`, and the socket of its supervisor."""
    owners = (
        (answer.socket, record)
        for answer in answers
        for record in answer.records
        if record.mountpoint == path and record.state != "detached"
    )
    return next(owners, None)


def _silent_record(socket: Path, error: MountdError) -> MountRecord:
    private = socket.name != sockets.SERVICE_SOCKET
    return MountRecord(
        name=sockets.mount_name_of(socket) if private else "service",
        mountpoint="",
        source="",
        mode="",
        state="not answering",
        since=socket.stat().st_mtime if socket.exists() else time.time(),
        supervisor_pid=0,
        private=private,
        last_error=error.message,
    )


def _sorted(answers: list[_Answer], silent: list[MountRecord]) -> list[MountRecord]:
    records = [record for answer in answers for record in answer.records]
    return sorted(records + silent, key=lambda record: (record.mountpoint, record.since))


def _unmount_unowned(path: str, *, lazy: bool, silent: list[MountRecord]) -> None:
    """Unmount what no supervisor answers for: a dead mount, or one whose processes are about to end or hang."""
    entry = mount_table.mount_at(path)
    if entry is None:
        if silent:
            said = silent[0].last_error
            raise DeadlineError(f"nothing is mounted at {path} as far as is known, but {said}; end it with kill -9")
        raise NotFoundError(f"nothing is mounted at {path}; `mountd list` shows what there is")
    if mount_table.heal(path):
        return
    if entry.fstype != "fuse.mountd":
        raise NotFoundError(
            f"what is mounted at {path} is not mountd's but {entry.source} ({entry.fstype}); use umount"
        )
    try:
        mount_table.unmount(path, lazy=lazy)
    except NotFoundError:
        pass  # it ended meanwhile
    except BusyError:
        raise BusyError(
            f"cannot unmount {path}: it is in use; `fuser -vm {path}` says by whom, --lazy detaches"
        ) from None


def _watch_exit(pid: int) -> int | None:
    with suppress(OSError):
        return os.pidfd_open(pid)
    return None


def _wait_exit(process: int, timeout_s: float) -> None:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll(timeout_s * 1000)
    os.close(process)


def _within(timeout_s: float, call: Callable[[], T], what: str) -> T:
    """Return `call()`, or raise when a file system keeps it waiting."""
    outcome: list[T] = []
    thread = threading.Thread(target=lambda: outcome.append(call()), daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        raise DeadlineError(f"{what}: a file system on the way does not answer within {timeout_s:.0f} s")
    return outcome[0]
