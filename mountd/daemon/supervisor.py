"""The supervisor: the table of mounts, and one answer for every request.

It owns the nursery in which mounts live; the nursery given to the constructor must outlive every call. Two mounts never
share a mount point: the table is changed without an await between look and entry.
"""

import os
import sys
from collections.abc import Callable, Sequence

import msgspec
import trio

from mountd.daemon.mount_keeper import MountKeeper, Patience
from mountd.daemon.owner import Owner
from mountd.daemon.restart_policy import RestartHistory, RestartRule
from mountd.errors import BusyError, NotFoundError, UsageError
from mountd.observe.logs import get_logger
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
    Shutdown,
    Status,
    Unmount,
)

WORKER_COMMAND = (sys.executable, "-P", "-m", "mountd.daemon.worker")
"""-P: the directory that mountd was started from must not lend the worker its modules."""

_log = get_logger("mountd.daemon.supervisor")


class Supervisor:
    """The mounts of one supervisor process."""

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        private: bool,
        log: str | None = None,
        worker_command: Sequence[str] = WORKER_COMMAND,
        restart_rule: RestartRule | None = None,
        patience: Patience | None = None,
    ) -> None:
        """`log` is the file that this process and its workers write to, if it is one."""
        self._nursery = nursery
        self._private = private
        self._log_file = log
        self._worker_command = worker_command
        self._restart_rule = restart_rule or RestartRule()
        self._patience = patience or Patience()
        self._keepers: list[MountKeeper] = []
        self._changed = trio.Condition()
        self._shutdown = trio.Event()
        self._untroubled = True

    async def answer(self, request: Request) -> Reply:
        """Do what `request` asks and return the reply.

        Raises:
            MountdError: it could not be done.
        """
        match request:
            case Mount(spec=spec, owner_pid=owner_pid):
                return Mounted(record=await self.mount(spec, owner_pid=owner_pid))
            case Unmount(mountpoint=mountpoint, lazy=lazy):
                return Done(note=await self._keeper_at(mountpoint).unmount(lazy=lazy))
            case ListMounts():
                return Mounts(records=[keeper.record() for keeper in self._keepers])
            case Status(mountpoint=mountpoint):
                return Mounts(records=await self._status(mountpoint))
            case Prefetch(mountpoint=mountpoint, patterns=patterns, pin=pin, ticket=ticket):
                await self._keeper_at(mountpoint).prefetch(patterns, pin=pin, ticket=ticket)
                return Done()
            case Shutdown():
                self.request_shutdown()
                return Done()

    async def mount(self, spec: msgspec.Raw, *, owner_pid: int | None = None) -> MountRecord:
        """Mount a packed `MountSpec` and return its record when a stat through the mount has answered.

        With `owner_pid` the mount ends when that process does, whoever uses it then.

        Cancelling it takes the half-made mount back.

        Raises:
            MountdError: it did not come about; nothing of it is left.
        """
        if self._shutdown.is_set():
            raise BusyError("this mountd is about to end; try again in a moment")
        owner = None if owner_pid is None else Owner(owner_pid)
        try:
            keeper = await self._mount(spec)
        except BaseException:
            if owner is not None:
                owner.close()
            raise
        if owner is not None:
            self._nursery.start_soon(self._end_with, owner, keeper)
        return keeper.record()

    async def _mount(self, spec: msgspec.Raw) -> MountKeeper:
        keeper = MountKeeper(
            spec,
            supervisor_pid=os.getpid(),
            worker_command=self._worker_command,
            private=self._private,
            log=self._log_file,
            history=RestartHistory(self._restart_rule),
            patience=self._patience,
            on_failed=lambda: self._nursery.start_soon(self._announce),
        )
        # no await: nobody else can take the mount point between this look and the entry
        for other in self._keepers:
            if other.holds_mountpoint and other.mountpoint == keeper.mountpoint:
                record = other.record()
                raise BusyError(
                    f"{keeper.mountpoint} already is a mount of {record.source} ({record.state}); unmount that first"
                )
        self._keepers.append(keeper)
        await self._nursery.start(self._keep, keeper)
        return keeper

    async def _end_with(self, owner: Owner, keeper: MountKeeper) -> None:
        """End the mount of `keeper` when `owner` is gone; one that is detached by then is served to its end."""
        try:
            async with trio.open_nursery() as nursery:

                async def until_over() -> None:
                    await keeper.wait_finished()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_over)
                await owner.wait_gone()
                if keeper.holds_mountpoint:
                    _log.info("the process that owns the mount is gone", mountpoint=keeper.mountpoint)
                    await keeper.end()
                nursery.cancel_scope.cancel()
        finally:
            owner.close()

    def request_shutdown(self) -> None:
        """Make `wait_shutdown` return; no new mounts from now on."""
        self._shutdown.set()

    async def wait_shutdown(self) -> None:
        """Return when the end was requested."""
        await self._shutdown.wait()

    async def wait_idle(self, *, or_failed: bool = False) -> None:
        """Return when there are no mounts; `or_failed`: none but those that were given up."""
        await self._wait_until(lambda: not [k for k in self._keepers if not (or_failed and k.failed)])

    @property
    def failures(self) -> list[MountRecord]:
        """The mounts that were given up."""
        return [keeper.record() for keeper in self._keepers if keeper.failed]

    @property
    def untroubled(self) -> bool:
        """No mount failed and no worker died: nobody will want to read the log."""
        return self._untroubled

    async def end_all(self) -> None:
        """End every mount, whoever uses it, all at once."""
        self.request_shutdown()
        async with trio.open_nursery() as nursery:
            for keeper in self._keepers:
                nursery.start_soon(keeper.end)

    async def _keep(self, keeper: MountKeeper, *, task_status: trio.TaskStatus[None]) -> None:
        started = False

        def ready() -> None:
            nonlocal started
            started = True
            task_status.started()

        try:
            await keeper.run(ready=ready)
        except (UsageError, BusyError):
            raise  # the client is told all there is to say
        except Exception:
            self._untroubled = False
            if not started:
                raise
            _log.exception("a mount ended unexpectedly", mountpoint=keeper.mountpoint)  # the others go on
        finally:
            self._untroubled = self._untroubled and keeper.record().restarts == 0
            self._keepers.remove(keeper)
            with trio.move_on_after(1, shield=True):
                await self._announce()

    async def _announce(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait_until(self, holds: Callable[[], bool]) -> None:
        async with self._changed:
            while not holds():
                await self._changed.wait()

    async def _status(self, mountpoint: str | None) -> list[MountRecord]:
        keepers = self._keepers if mountpoint is None else [self._keeper_at(mountpoint)]
        records: dict[int, MountRecord] = {}

        async def ask(place: int, keeper: MountKeeper) -> None:
            records[place] = await keeper.status()

        async with trio.open_nursery() as nursery:
            for place, keeper in enumerate(keepers):
                nursery.start_soon(ask, place, keeper)
        return [records[place] for place in sorted(records)]

    def _keeper_at(self, mountpoint: str) -> MountKeeper:
        if not mountpoint.startswith("/"):
            raise UsageError(f"a mount point in a request is absolute, not {mountpoint!r}")
        here = [keeper for keeper in self._keepers if keeper.mountpoint == mountpoint]
        if not here:
            raise NotFoundError(f"nothing is mounted at {mountpoint}")
        # A detached mount may share the path with the one that is there now.
        return max(here, key=lambda keeper: keeper.holds_mountpoint)
