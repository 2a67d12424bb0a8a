"""One mount from request to end: sets it up, watches its worker, replaces a worker that dies.

The keeper never touches storage, nor anything below the mount point. Whatever ends it, no worker and no mount of its
own is left: `run` cleans up behind every way out, also when it is cancelled.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import trio

from mountd.daemon.kernel_mount import KernelMount
from mountd.daemon.restart_policy import RestartHistory
from mountd.daemon.worker_process import Outcome, WorkerProcess
from mountd.errors import BusyError, DeadlineError, MountdError, NotFoundError, SetupError, UnavailableError
from mountd.modes.mount_spec import MountSpec
from mountd.observe.logs import get_logger
from mountd.wire.codec import unpack
from mountd.wire.messages import MountRecord, State

_LIVES_ON_AFTER_S = 0.5
_LIVES_ON_AFTER_LOOKS = 3
"""A session whose last mount was taken away ends within a turn of its loop: of a busy one, before it answers twice."""
STILL_SERVED = (
    "it is in use elsewhere (open files, a bind mount, another mount namespace), and is served there to its end"
)
_CLEAN_UP_S = 30.0
"""More than ending a worker and taking its mount away can take by their own deadlines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a worker may take, in seconds."""

    ready_s: float = 30.0
    """From the request until a stat through the mount answers."""
    answer_s: float = 2.0
    """To say how it is."""
    check_every_s: float = 5.0
    hung_s: float = 60.0
    """A worker whose loop has stood still for as long as any request may take is as good as dead."""


class MountKeeper:
    """One mount; `run` is its life."""

    def __init__(
        self,
        spec: msgspec.Raw,
        *,
        supervisor_pid: int,
        worker_command: Sequence[str],
        private: bool,
        log: str | None,
        history: RestartHistory,
        patience: Patience,
        on_failed: Callable[[], None],
    ) -> None:
        """Prepare to mount a packed `MountSpec`; nothing happens before `run`.

        `log` is the file that the workers' standard error goes to. `on_failed` is called when they died too often.
        """
        settled = unpack(spec, MountSpec)
        self._spec = spec
        self._worker_command = worker_command
        self._base = MountRecord(
            name=settled.name,
            mountpoint=settled.mountpoint,
            source=settled.location.source,
            mode=settled.options.mode,
            state="starting",
            since=time.time(),
            supervisor_pid=supervisor_pid,
            private=private,
            log=log,
        )
        self._kernel = KernelMount(settled.mountpoint, allow_other=settled.options.allow_other)
        self._history = history
        self._patience = patience
        self._on_failed = on_failed
        self._state: State = "starting"
        self._moved = trio.Event()
        self._step = "preparing the mount point"
        self._worker: WorkerProcess | None = None
        self._was_ready = False
        self._restarts = 0
        self._last_error: str | None = None
        self._stop = trio.Event()
        self._setting_up = trio.CancelScope()
        self._finished = trio.Event()
        self._ending = trio.Lock()
        self._log = get_logger("mountd.daemon.mount", mount=settled.name, mountpoint=settled.mountpoint)

    @property
    def mountpoint(self) -> str:
        """Absolute and real."""
        return self._base.mountpoint

    @property
    def holds_mountpoint(self) -> bool:
        """Nothing else may be mounted there: not detached, not over."""
        return self._state != "detached" and not self._finished.is_set()

    @property
    def failed(self) -> bool:
        """Workers died too often; only `unmount` goes on from here."""
        return self._state == "failed"

    def record(self) -> MountRecord:
        """Return what is known without asking the worker."""
        return msgspec.structs.replace(
            self._base,
            state=self._state,
            worker_pid=None if self._worker is None else self._worker.pid,
            restarts=self._restarts,
            last_error=self._last_error,
        )

    async def status(self) -> MountRecord:
        """Return the record with what the worker says about itself, within two seconds."""
        worker = self._worker
        if worker is None or self._state == "starting":
            return self.record()
        try:
            with trio.fail_after(self._patience.answer_s):
                report = await worker.report()
        except UnavailableError:
            return self.record()
        except trio.TooSlowError:
            return msgspec.structs.replace(self.record(), state="not answering")
        return msgspec.structs.replace(self.record(), details=report.details, statistics=report.statistics)

    async def prefetch(self, patterns: list[str], *, pin: bool, ticket: str) -> None:
        """Have the worker begin to bring data to disk.

        One that is being replaced is waited for as long as a worker may take to be ready.

        Raises:
            BusyError: there is no worker that could.
        """
        with trio.move_on_after(self._patience.ready_s):
            while self._state in {"starting", "ready", "restarting"} and not self._finished.is_set():
                moved, worker = self._moved, self._worker
                if worker is not None and self._state == "ready":
                    try:
                        with trio.move_on_after(self._patience.answer_s):
                            await worker.bring(patterns, pin=pin, ticket=ticket)
                            await worker.report()  # after which it has heard of it: what is sent may be lost with it
                    except UnavailableError:
                        pass  # it has died just now
                    else:
                        return
                await moved.wait()
        if self._finished.is_set():
            raise NotFoundError(f"nothing is mounted at {self.mountpoint}")
        raise BusyError(f"{self.mountpoint}: is {self._state}, nothing can be prefetched now; try again later")

    async def run(self, *, ready: Callable[[], None]) -> None:
        """Mount, call `ready` when a stat through the mount has answered, and return when the mount is over.

        Raises:
            MountdError: it did not come about; nothing after `ready` raises.
        """
        failure: MountdError | None = None
        try:
            async with trio.open_nursery() as nursery:
                try:
                    worker = await self._set_up(nursery)
                except MountdError as error:
                    failure = error
                else:
                    ready()
                    await self._serve(nursery, worker)
        finally:
            self._worker = None
            with trio.move_on_after(_CLEAN_UP_S, shield=True):
                if self._state != "detached":
                    await self._kernel.clear_leftover()
            self._kernel.release(remove_created=not self._was_ready)
            self._finished.set()
            self._moved.set()
        if failure is not None:
            self._log.error("mount failed", why=failure.message)
            raise failure

    async def wait_finished(self) -> None:
        """Return when the mount is over."""
        await self._finished.wait()

    async def unmount(self, *, lazy: bool) -> str:
        """End the mount; with `lazy`, let what is open be served to its end.

        Returns what there is to be said: that it lives on where it was bound to, or in another mount namespace.

        Raises:
            BusyError: somebody uses it; says who.
            MountdError: the kernel refuses for another reason.
        """
        async with self._ending:
            if self._state == "detached":  # by another unmount, a moment ago
                return STILL_SERVED
            if self._state in {"ready", "stopping"} and not self._finished.is_set():
                try:
                    await self._kernel.unmount(patient=not lazy)
                except BusyError:
                    if not lazy:
                        raise await self._kernel.busy_error() from None
                    await self._kernel.detach()
                    self._become_detached()
                    return ""
                except NotFoundError:
                    pass  # taken away from outside
                if await self._lives_on():
                    self._become_detached()
                    return STILL_SERVED
            await self._end()
        return ""

    async def _lives_on(self) -> bool:
        """Whether the kernel still has the file system that was unmounted here."""
        worker = self._worker
        if worker is None:
            return False
        began = trio.current_time()
        looks = 0
        while looks < _LIVES_ON_AFTER_LOOKS or trio.current_time() - began < _LIVES_ON_AFTER_S:
            try:
                with trio.fail_after(self._patience.answer_s):
                    report = await worker.report()
            except (UnavailableError, trio.TooSlowError):
                return False  # nobody is served
            if report.is_over:
                return False
            looks += 1
            await trio.sleep(_LIVES_ON_AFTER_S / 10)
        return True

    async def end(self) -> None:
        """End the mount whoever uses it. Returns when it is over; never fails."""
        async with self._ending:
            if self._state == "ready" and not self._finished.is_set():
                with suppress(MountdError):  # in use: the worker detaches it
                    await self._kernel.unmount(patient=False)
            await self._end()

    async def _end(self) -> None:
        self._stop.set()
        self._setting_up.cancel()
        if self._state == "detached":
            # An orderly end would unmount by path, and the path may be another mount's by now.
            if self._worker is not None:
                self._worker.kill()
        else:
            self._move_to("stopping")
        if self._worker is not None:
            await self._worker.end()
        await self._finished.wait()

    async def _set_up(self, nursery: trio.Nursery) -> WorkerProcess:
        with self._setting_up:
            try:
                with trio.fail_after(self._patience.ready_s):
                    await self._kernel.claim()
                    return await self._start_worker(nursery)
            except trio.TooSlowError:
                raise self._too_slow() from None
        raise SetupError(f"cannot mount {self._base.source} at {self.mountpoint}: it was unmounted before it was ready")

    async def _start_worker(self, nursery: trio.Nursery) -> WorkerProcess:
        """Return a worker that is ready; nothing of one that does not get there is left."""
        self._step = "starting the worker"
        self._kernel.forget()
        worker = self._worker = await WorkerProcess.start(
            nursery, self._worker_command, self._spec, log_file=self._base.log
        )
        try:
            await worker.wait_ready()
            await self._kernel.adopt()
            self._was_ready = True
            self._move_to("ready")
        except MountdError as error:
            raise type(error)(f"cannot mount {self._base.source} at {self.mountpoint}: {error.message}") from None
        finally:
            if self._state != "ready":
                self._step = worker.step
                with trio.move_on_after(_CLEAN_UP_S, shield=True):
                    await worker.end()
                    self._worker = None
                    if not self._was_ready:  # else whoever uses the path is to see an error, and no empty directory
                        await self._kernel.clear_leftover()
        self._log.info("ready", worker=worker.pid, source=self._base.source)
        return worker

    def _too_slow(self) -> DeadlineError:
        return DeadlineError(
            f"cannot mount {self._base.source} at {self.mountpoint}: not ready within {self._patience.ready_s:g} s, "
            f"still {self._step}; check that the source can be reached from this node"
        )

    async def _serve(self, nursery: trio.Nursery, worker: WorkerProcess | None) -> None:
        while worker is not None:
            try:
                async with trio.open_nursery() as watch:
                    watch.start_soon(self._watch_health, worker)
                    outcome = await worker.wait_ended()
                    watch.cancel_scope.cancel()
            finally:
                with trio.move_on_after(_CLEAN_UP_S, shield=True):
                    await worker.end()
            self._worker = None
            if self._stop.is_set() or outcome.reason is not None:
                self._log.info("ended", reason=outcome.reason or outcome.how)
                return
            worker = await self._replace(nursery, outcome)

    async def _watch_health(self, worker: WorkerProcess) -> None:
        answered = trio.current_time()
        while True:
            await trio.sleep(self._patience.check_every_s)
            if self._state == "ready" and not self._ending.locked() and await self._kernel.is_detached():
                self._become_detached()
            try:
                with trio.fail_after(self._patience.answer_s):
                    await worker.report()
                answered = trio.current_time()
            except UnavailableError:
                return
            except trio.TooSlowError:
                silence_s = trio.current_time() - answered
                self._log.warning("worker does not answer", worker=worker.pid, for_s=round(silence_s))
                if silence_s >= self._patience.hung_s:
                    self._log.error("worker hangs and is killed", worker=worker.pid)
                    worker.kill()
                    return

    async def _replace(self, nursery: trio.Nursery, outcome: Outcome) -> WorkerProcess | None:
        """Return the next worker, or None when there is to be none."""
        why = outcome.how if outcome.error is None else f"{outcome.how}: {outcome.error.message}"
        self._last_error = f"the worker {why}"
        self._move_to("restarting")
        self._restarts += 1
        self._log.error("worker died", how=why, restarts=self._restarts)
        # The dead mount stays until the next worker is about to mount: ENOTCONN is an error, an empty directory is not.
        pause_s = self._history.after_death(trio.current_time())
        with trio.CancelScope() as self._setting_up:
            while pause_s is not None and not self._stop.is_set():
                await trio.sleep(pause_s)
                if self._stop.is_set():
                    break  # it became detached
                try:
                    with trio.fail_after(self._patience.ready_s):
                        worker = await self._start_worker(nursery)
                except (MountdError, trio.TooSlowError) as failed:
                    pause_s = self._after_failed_start(failed if isinstance(failed, MountdError) else self._too_slow())
                else:
                    self._history.after_start()
                    return worker
        if not self._stop.is_set():
            # The dead mount stays until `unmount`, or until it is mounted again: who reads it is to get an error.
            self._move_to("failed")
            self._log.error("gave up: workers die too often", restarts=self._restarts)
            self._on_failed()
            await self._stop.wait()
        return None

    def _after_failed_start(self, error: MountdError) -> float | None:
        self._last_error = error.message
        self._log.warning("worker cannot be replaced yet", why=error.message)
        if isinstance(error, UnavailableError):
            return self._history.after_failed_start()
        return self._history.after_death(trio.current_time())

    def _move_to(self, state: State) -> None:
        self._state = state
        self._moved.set()
        self._moved = trio.Event()

    def _become_detached(self) -> None:
        """The mount point is free, but open files are still served: there will be no other worker."""
        self._stop.set()
        self._move_to("detached")
        self._kernel.release(remove_created=False)
        self._log.info("detached; what is open is served to its end")
