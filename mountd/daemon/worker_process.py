"""The supervisor's side of one worker: start it, tell it what to mount, ask it how it is, see it end.

The mount's specification, secrets included, goes through a socket pair that is the worker's standard input: never
through arguments or the environment. Whoever starts a worker calls `end` before leaving the nursery it was given.
"""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import trio

from mountd.daemon.connection import Connection, as_stream
from mountd.daemon.worker_heap import with_huge_pages
from mountd.errors import MountdError, SetupError, UnavailableError
from mountd.observe.logs import get_logger
from mountd.wire.messages import AskReport, Bring, Ended, Failed, News, Order, Ready, Report, Serve, Step, Stop

_GRACE_S = 10.0
"""For a worker that was asked to end; it needs its own few seconds to unmount and close its store."""
_DRAIN_S = 1.0
"""For the last words of a worker that has exited: they are in the socket's buffer already."""

_log = get_logger("mountd.daemon.worker_process")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a worker ended."""

    reason: str | None
    """Why the mount was over, if the worker said so: then it ended by itself and all is well."""
    error: MountdError | None
    """What it said was wrong."""
    status: int
    """As `Popen.returncode`."""

    @property
    def how(self) -> str:
        """The end in words: `was killed by SIGKILL`, `ended with exit status 1`."""
        if self.status < 0:
            try:
                name = signal.Signals(-self.status).name
            except ValueError:
                name = f"signal {-self.status}"
            return f"was killed by {name}"
        return f"ended with exit status {self.status}"


class WorkerProcess:
    """A running worker."""

    def __init__(self, process: trio.Process, connection: Connection[News], log_file: str | None) -> None:
        """`log_file` is where the worker's last words end up, if that is a file."""
        self._process = process
        self._log_file = log_file
        self._connection = connection
        self._step = "starting the worker"
        self._ready = trio.Event()
        self._ready_or_exited = trio.Event()
        self._exited = trio.Event()
        self._outcome: Outcome | None = None
        self._reason: str | None = None
        self._error: MountdError | None = None
        self._serial = 0
        self._latest: Report | None = None
        self._reported = trio.Condition()

    @classmethod
    async def start(
        cls, nursery: trio.Nursery, command: Sequence[str], spec: msgspec.Raw, *, log_file: str | None = None
    ) -> "WorkerProcess":
        """Start `command` and tell it to serve `spec`; a task in `nursery` listens to it until it is dead and reaped.

        Raises:
            SetupError: no process could be started.
        """
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            try:
                # Its own session: Ctrl-C on the terminal is the supervisor's business, which then unmounts in order.
                process = await trio.lowlevel.open_process(
                    list(command),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                    cwd="/",
                    env=with_huge_pages(os.environ),
                )
            except OSError as error:
                raise SetupError(f"cannot start a worker process: {error.strerror}") from None
            finally:
                theirs.close()
            undo.pop_all()
        worker = cls(process, Connection(as_stream(ours), News), log_file)
        nursery.start_soon(worker._run)
        try:
            with contextlib.suppress(UnavailableError):  # it is dead already: `wait_ready` says why
                await worker._order(Serve(spec=spec))
        except BaseException:
            with trio.move_on_after(2 * _GRACE_S, shield=True):
                await worker.end()
            raise
        return worker

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def step(self) -> str:
        """The step of the set-up that runs or ran last."""
        return self._step

    async def wait_ready(self) -> None:
        """Return when a stat through the mount has answered.

        Raises:
            MountdError: the set-up failed, or the worker died during it.
        """
        await self._ready_or_exited.wait()
        if self._ready.is_set():
            return
        outcome = await self.wait_ended()
        if outcome.error is not None:
            raise outcome.error
        if outcome.reason is not None:
            raise SetupError(f"the mount was over before it was ready ({outcome.reason})")
        where = f"the log says why: {self._log_file}" if self._log_file else "the log says why"
        raise SetupError(f"the worker {outcome.how} while {self._step}; {where}")

    async def wait_ended(self) -> Outcome:
        """Return how it ended, once it has."""
        await self._exited.wait()
        assert self._outcome is not None, "set together with exited"
        return self._outcome

    async def report(self) -> Report:
        """Ask the worker how it is. The caller sets the deadline.

        Raises:
            UnavailableError: it has ended.
        """
        self._serial += 1
        serial = self._serial
        await self._order(AskReport(serial=serial))
        async with self._reported:
            # A later report is as good an answer as the one asked for.
            while self._latest is None or self._latest.serial < serial:
                if self._exited.is_set():
                    raise UnavailableError("the worker has ended")
                await self._reported.wait()
            return self._latest

    async def bring(self, patterns: list[str], *, pin: bool, ticket: str) -> None:
        """Have the worker begin to bring data to disk.

        Raises:
            UnavailableError: it has ended.
        """
        await self._order(Bring(patterns=patterns, pin=pin, ticket=ticket))

    async def end(self) -> None:
        """Have the worker unmount and exit; kill it if it does not. Returns when it is dead, cancelled or not."""
        with trio.CancelScope(shield=True):
            with trio.move_on_after(_GRACE_S):
                with contextlib.suppress(UnavailableError):
                    await self._order(Stop())
                await self._exited.wait()
            if not self._exited.is_set():
                _log.warning("worker does not end and is killed", pid=self.pid, step=self._step)
                self.kill()
                await self._exited.wait()

    def kill(self) -> None:
        """Kill it with SIGKILL; the mount it leaves behind is dead."""
        self._process.kill()

    async def _order(self, order: Order) -> None:
        try:
            await self._connection.send(order)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise UnavailableError("the worker has ended") from None

    async def _run(self) -> None:
        """Listen until the process has exited and all it said was heard."""
        # Shielded: `end` waits for the outcome in a scope that may be cancelled, and sees to it that there is one.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen)
                status = await self._process.wait()
                nursery.cancel_scope.deadline = trio.current_time() + _DRAIN_S
            await self._connection.aclose()
            self._outcome = Outcome(reason=self._reason, error=self._error, status=status)
            self._exited.set()
            self._ready_or_exited.set()
            async with self._reported:
                self._reported.notify_all()

    async def _listen(self) -> None:
        try:
            while (news := await self._connection.receive()) is not None:
                await self._take(news)
        except MountdError as error:  # it talks nonsense
            self._error = error
            self.kill()

    async def _take(self, news: News) -> None:
        match news:
            case Step(name=name):
                self._step = name
            case Ready():
                self._ready.set()
                self._ready_or_exited.set()
            case Report():
                async with self._reported:
                    self._latest = news
                    self._reported.notify_all()
            case Ended(reason=reason):
                self._reason = reason
            case Failed():
                self._error = news.to_error()
