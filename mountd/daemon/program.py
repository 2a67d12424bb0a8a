"""The supervisor as a program: private to one mount, in the foreground, or as the node's service.

All three are the same supervisor; they differ in the first request and in what ends them. SIGTERM, SIGINT and SIGHUP
unmount everything and end with exit status 0.
"""

import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from mountd.aio.threads import Lane
from mountd.daemon.connection import as_stream
from mountd.daemon.listener import accept_connections, serve_connection
from mountd.daemon.supervisor import Supervisor
from mountd.errors import SetupError
from mountd.modes.mount_spec import MountSpec
from mountd.observe.logs import get_logger
from mountd.wire.codec import unpack
from mountd.wire.messages import MountRecord
from mountd.wire.sockets import SERVICE_SOCKET, listen, private_socket_name

_LOG_LIMIT_BYTES = 8 << 20
_LOG_KEPT_BYTES = 1 << 20
_LOG_CHECK_S = 60.0
_LAST_ANSWERS_S = 20.0
"""More than an unmount may take: of a mount whose million inodes the kernel has to let go, umount(2) returns seconds
after the worker has ended."""

_log = get_logger("mountd.daemon.program")


def run_private(directory: Path, name: str, log: Path, first: socket.socket) -> None:
    """Serve the request that comes through `first`, and then until its mount is over.

    Args:
        directory: the runtime directory.
        name: the name of the control socket in it.
        log: the file that standard error goes to; removed at the end of a mount without incidents.
        first: a connection to the client that started this program.
    """
    untroubled = True

    async def work(supervisor: Supervisor) -> None:
        nonlocal untroubled
        await serve_connection(as_stream(first), supervisor.answer)
        await supervisor.wait_idle()
        untroubled = supervisor.untroubled

    trio.run(_supervise, directory, name, work, True, log)
    if untroubled:
        log.unlink(missing_ok=True)


def run_foreground(directory: Path, spec: msgspec.Raw, ready: Callable[[MountRecord], None]) -> None:
    """Mount, call `ready` when a stat through the mount has answered, and return when the mount is over.

    Args:
        directory: the runtime directory.
        spec: what to mount, packed.
        ready: is called in a thread, and may block and talk to this supervisor like any client; if it raises, the mount
            ends.

    Raises:
        MountdError: the mount did not come about, or workers died too often, or `ready` raised it.
    """
    failed: list[Exception] = []

    async def work(supervisor: Supervisor) -> None:
        try:
            await Lane("ready", 1).run(ready, await supervisor.mount(spec))
        except Exception as error:  # noqa: BLE001 - leaves the nurseries in one piece and is raised below
            failed.append(error)
            return
        await supervisor.wait_idle(or_failed=True)
        failed.extend(
            SetupError(f"{record.mountpoint}: gave up after {record.restarts} restarts: {record.last_error}")
            for record in supervisor.failures
        )

    trio.run(_supervise, directory, private_socket_name(unpack(spec, MountSpec).name), work, True, None)
    if failed:
        raise failed[0]


def run_service(directory: Path) -> None:
    """Serve requests at the node's well-known socket until signalled or told to shut down."""

    async def work(supervisor: Supervisor) -> None:
        await supervisor.wait_shutdown()

    trio.run(_supervise, directory, SERVICE_SOCKET, work, False, None)


async def _supervise(
    directory: Path, name: str, work: Callable[[Supervisor], Awaitable[None]], private: bool, log: Path | None
) -> None:
    """Register, do `work` until it returns or the end is requested, end all mounts, unregister."""
    with listen(directory, name) as listening:
        listening.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        try:
            async with trio.open_nursery() as answering:
                async with trio.open_nursery() as nursery:
                    supervisor = Supervisor(nursery, private=private, log=None if log is None else str(log))
                    await nursery.start(_heed_signals, supervisor)
                    nursery.start_soon(accept_connections, listener, supervisor.answer, answering)
                    if log is not None:
                        nursery.start_soon(_bound_log, log)
                    async with trio.open_nursery() as working:
                        working.start_soon(_cancel_on_shutdown, supervisor, working.cancel_scope)
                        await work(supervisor)
                        working.cancel_scope.cancel()
                    await supervisor.end_all()
                    nursery.cancel_scope.cancel()
                # Whoever asked for the unmount that ends us is still to hear that it is done.
                answering.cancel_scope.deadline = trio.current_time() + _LAST_ANSWERS_S
        finally:
            (directory / name).unlink(missing_ok=True)


async def _cancel_on_shutdown(supervisor: Supervisor, scope: trio.CancelScope) -> None:
    await supervisor.wait_shutdown()
    scope.cancel()


async def _heed_signals(supervisor: Supervisor, *, task_status: trio.TaskStatus[None]) -> None:
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # `nohup mountd mount --foreground …` means what it says
        numbers.append(signal.SIGHUP)
    with trio.open_signal_receiver(*numbers) as received:
        task_status.started()
        async for number in received:
            _log.info("signalled, unmounting everything", signal=signal.Signals(number).name)
            supervisor.request_shutdown()


async def _bound_log(path: Path) -> None:
    """Keep the log of a mount that lives for months small: it lies in memory on most nodes."""
    lane = Lane("log", 1)
    while True:
        await trio.sleep(_LOG_CHECK_S)
        with suppress(OSError):
            await lane.run(cut_log, path)


def cut_log(path: Path) -> None:
    """Keep the end of a log that is too long. Its writers append, so they go on behind what is kept."""
    with path.open("r+b") as log:
        if log.seek(0, os.SEEK_END) <= _LOG_LIMIT_BYTES:
            return
        log.seek(-_LOG_KEPT_BYTES, os.SEEK_END)
        kept = log.read().partition(b"\n")[2]
        log.truncate(0)
    with path.open("ab") as log:
        log.write(kept)
