"""The worker program: serves one mount for the supervisor at the other end of its standard input.

A worker ends when it is told to, when it is signalled, when somebody unmounts, and when its supervisor is gone,
however that happened. It always tries to take its mount with it: after a request to stop it gets a few seconds, then
the loop is cancelled, then (`WorkerGuard`) a thread detaches the mount and ends the process.
"""

import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import msgspec
import trio

from mountd.aio.threads import Lane
from mountd.daemon.connection import Connection, as_stream
from mountd.daemon.worker_guard import WorkerGuard
from mountd.errors import MountdError, SetupError
from mountd.modes.mount_spec import MountSpec
from mountd.observe import logs
from mountd.observe.redaction import redact
from mountd.observe.statistics import MountStatistics
from mountd.wire.codec import unpack
from mountd.wire.messages import AskReport, Bring, Ended, Failed, Order, Ready, Report, Serve, Step, Stop

_STAT_WITHIN_S = 10.0
_REFRESH_WITHIN_S = 0.1
"""A disk that hangs may keep nobody from hearing about the mount."""
_STOP_WITHIN_S = 8.0
"""From the request to stop until the loop is cancelled."""

_log = logs.get_logger("mountd.daemon.worker")


class Served(Protocol):
    """What `serve_mount` says it has started."""

    async def refresh(self) -> None:
        """Bring those counters up to date that take a disk."""

    def statistics(self) -> MountStatistics:
        """Return the counters."""

    def describe(self) -> dict[str, str]:
        """Return further lines for people."""

    @property
    def is_over(self) -> bool:
        """Whether the kernel has nothing of the mount any more."""

    def prefetch(self, patterns: list[str], *, pinned: bool, ticket: str) -> None:
        """Bring to disk what `patterns` name; the statistics say, by `ticket`, how far it is."""

    def request_stop(self) -> None:
        """Unmount and end."""


class ServeMount(Protocol):
    """`modes.mount.serve_mount`."""

    def __call__(self, spec: MountSpec, *, task_status: trio.TaskStatus[Served]) -> Awaitable[str]:
        """Serve the mount and return why it ended."""


class _Started:
    """The task status of `serve_mount`, whose return value matters too, which `Nursery.start` would drop."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._served: Served | None = None

    def started(self, value: Served | None = None) -> None:
        """Take what serves."""
        self._served = value
        self._event.set()

    async def wait(self) -> Served:
        """Return what serves, once it does."""
        await self._event.wait()
        assert self._served is not None, "serve_mount reports what it has started"
        return self._served


class Worker:
    """One mount and the supervisor it answers to."""

    def __init__(self, connection: Connection[Order], serve_mount: ServeMount, guard: WorkerGuard) -> None:
        self._connection = connection
        self._serve_mount = serve_mount
        self._guard = guard
        self._served: Served | None = None
        self._serving = trio.CancelScope()
        self._stopping = trio.Event()
        self._lane = Lane("readiness", 1)

    async def run(self) -> int:
        """Serve what the first order says and return the exit status."""
        order = await self._connection.receive()
        if not isinstance(order, Serve):
            return 0  # the supervisor has changed its mind
        async with trio.open_nursery() as nursery:
            await nursery.start(self._heed_signals)
            nursery.start_soon(self._heed_orders)
            nursery.start_soon(self._cut_off)
            status = await self._serve_and_tell(unpack(order.spec, MountSpec))
            nursery.cancel_scope.cancel()
        return status

    async def _serve_and_tell(self, spec: MountSpec) -> int:
        reason = "stopped"
        failure: MountdError | None = None
        try:
            with self._serving:
                reason = await self._serve(spec)
        except* Exception as group:  # noqa: BLE001 - the supervisor is told about it
            failure = _told(group)
        if failure is None:
            await self._tell(Ended(reason=reason))
            return 0
        await self._tell(Failed.from_error(failure))
        return failure.exit_code

    async def _serve(self, spec: MountSpec) -> str:
        reason = "stopped"
        started = _Started()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                nonlocal reason
                reason = await self._serve_mount(spec, task_status=started)
                nursery.cancel_scope.cancel()  # the steps below have nothing left to wait for

            await self._tell(Step(name="opening the source and mounting"))
            nursery.start_soon(serve)
            self._served = await started.wait()
            self._guard.watch_over(spec.mountpoint)
            await self._tell(Step(name="waiting for a stat through the mount"))
            await self._wait_stat(spec.mountpoint)
            await self._tell(Ready())
        return reason

    async def _wait_stat(self, mountpoint: str) -> None:
        with trio.move_on_after(_STAT_WITHIN_S):
            try:
                await self._lane.run(_stat_through, mountpoint)
            except OSError as error:
                raise SetupError(f"mounted, but a stat through the mount failed: {error.strerror}") from None
            return
        raise SetupError(f"mounted, but a stat through the mount did not answer within {_STAT_WITHIN_S:.0f} s")

    def _request_stop(self) -> None:
        if self._served is None:
            self._serving.cancel()
        else:
            self._served.request_stop()
        self._stopping.set()

    async def _cut_off(self) -> None:
        await self._stopping.wait()
        await trio.sleep(_STOP_WITHIN_S)
        _log.warning("the mount does not end, cutting it off", after_s=_STOP_WITHIN_S)
        self._serving.cancel()

    async def _heed_orders(self) -> None:
        try:
            while (order := await self._connection.receive()) is not None:
                match order:
                    case AskReport(serial=serial):
                        await self._tell(await self._report(serial))
                    case Bring(patterns=patterns, pin=pin, ticket=ticket):
                        if self._served is not None:
                            self._served.prefetch(patterns, pinned=pin, ticket=ticket)
                    case Stop():
                        self._request_stop()
                    case Serve():
                        _log.warning("a second order to serve is ignored")
        except MountdError as error:
            _log.error("the supervisor is not understood", why=error.message)
        else:
            _log.warning("the supervisor is gone, unmounting")
        self._request_stop()

    async def _heed_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            task_status.started()
            async for number in received:
                _log.info("signalled, unmounting", signal=signal.Signals(number).name)
                self._request_stop()

    async def _report(self, serial: int) -> Report:
        if self._served is None:
            return Report(serial=serial, details={}, statistics={})
        with trio.move_on_after(_REFRESH_WITHIN_S):
            await self._served.refresh()
        return Report(
            serial=serial,
            details=self._served.describe(),
            statistics=msgspec.to_builtins(self._served.statistics()),
            is_over=self._served.is_over,
        )

    async def _tell(self, news: Step | Ready | Report | Ended | Failed) -> None:
        # That nobody listens any more is for `_heed_orders` to see.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._connection.send(news)


def _stat_through(mountpoint: str) -> None:
    """Return if a stat of the mount's root was answered by the mount."""
    through = os.stat(mountpoint)
    if through.st_dev == os.stat(os.path.dirname(mountpoint)).st_dev:
        raise OSError(0, "it is not mounted any more")


def _told(group: ExceptionGroup[Exception]) -> MountdError:
    """Return the error to hand to the supervisor."""
    known, unknown = group.split(MountdError)
    if unknown is not None:
        _log.error("the mount failed unexpectedly", exc_info=unknown)
    error: Exception = known or group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MountdError):
        return type(error)(redact(error.message))
    return MountdError(f"an internal error ended the mount: {redact(repr(error))}; the log says more")


def _adopt_standard_input() -> socket.socket:
    """Take the control socket away from standard input, so that nothing reads from it by accident."""
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return control


def _allow_open_files() -> None:
    """Raise the limit of open descriptors as far as this user may: connections and cached files take many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(serve_mount: Callable[[], ServeMount]) -> None:
    """Run a worker; `serve_mount` imports what serves, after the supervisor can be told why that failed."""
    logs.configure()
    _allow_open_files()
    control = _adopt_standard_input()
    guard = WorkerGuard(control)

    async def run() -> int:
        return await Worker(Connection(as_stream(control), Order), serve_mount(), guard).run()

    sys.exit(trio.run(run))


def _real_serve_mount() -> ServeMount:
    from mountd.modes.mount import serve_mount  # noqa: PLC0415 - the heavy half of the program

    return serve_mount


if __name__ == "__main__":
    main(_real_serve_mount)
