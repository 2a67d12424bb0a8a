"""The kernel's side of one mount: its mount point, its entry in the mount table, and taking it away again.

Only a mount that is known to be ours is ever touched: the entry that was there when the worker was ready, or, while a
worker sets one up, any FUSE mount at the claimed mount point; and, once a worker is gone, a dead mount there.
"""

from functools import partial

import trio

from mountd.aio.threads import Lane
from mountd.daemon.holders import Holder, collect_holders, describe
from mountd.daemon.mountpoint import MountPointClaim
from mountd.daemon.preflight import check_node
from mountd.errors import BusyError, MountdError, NotFoundError, SetupError
from mountd.fuse import mount_table
from mountd.fuse.mount_table import MountEntry
from mountd.observe.logs import get_logger

_CALL_S = 15.0
"""For a system call that takes milliseconds unless something hangs."""
_BUSY_TRIES = 4
_BUSY_PAUSE_S = 0.2
"""An indexer or a process that just exits holds a mount for a moment only."""
_HOLDERS_S = 3.0

_log = get_logger("mountd.daemon.kernel_mount")


class KernelMount:
    """What the kernel knows about one mount."""

    def __init__(self, mountpoint: str, *, allow_other: bool) -> None:
        """`mountpoint` is absolute and real."""
        self._mountpoint = mountpoint
        self._allow_other = allow_other
        self._claim = MountPointClaim(mountpoint)
        self._entry: MountEntry | None = None
        self._lane = Lane(f"mount table of {mountpoint}", 4)

    async def claim(self) -> None:
        """Check the node and the mount point, and keep others from it.

        Raises:
            MountdError: as `check_node` and `MountPointClaim.take` say.
        """
        await self._lane.run(partial(check_node, allow_other=self._allow_other))
        await self._lane.run(self._claim.take)

    def release(self, *, remove_created: bool) -> None:
        """Let others have the mount point; `remove_created`: the mount did not come about, leave no directory."""
        self._claim.release(remove_created=remove_created)

    def forget(self) -> None:
        """A worker is about to make a new mount."""
        self._entry = None

    async def adopt(self) -> None:
        """Take the mount that is there now as ours.

        Raises:
            SetupError: there is none.
        """
        entry = await self._lane.run(mount_table.mount_at, self._mountpoint)
        if entry is None or not entry.is_fuse:
            raise SetupError("somebody unmounted it before it was ready")
        self._entry = entry

    async def is_detached(self) -> bool:
        """Somebody took the mount out of the tree; it lives on for what is open."""
        return self._entry is not None and not await self._lane.run(mount_table.is_on_top, self._entry)

    async def unmount(self, *, patient: bool) -> None:
        """Unmount; `patient` tries again for a moment if it is in use.

        Raises:
            BusyError: somebody uses it.
            NotFoundError: it is not mounted any more.
            MountdError: the kernel refuses for another reason.
        """
        for left in reversed(range(_BUSY_TRIES if patient else 1)):
            try:
                await self._take_away(lazy=False)
            except BusyError:
                if left == 0:
                    raise
                await trio.sleep(_BUSY_PAUSE_S)
            else:
                return

    async def detach(self) -> None:
        """Take the mount out of the tree at once; open files live on, the mount point is free. Errors as `unmount`."""
        await self._take_away(lazy=True)

    async def clear_leftover(self) -> None:
        """Take away the mount that a dead worker left, if there is one. What lives there is somebody else's by now."""
        if not self._claim.held:
            return
        try:
            await self._lane.run(mount_table.heal, self._mountpoint)
        except MountdError as error:
            _log.error("a dead mount could not be taken away", mountpoint=self._mountpoint, why=error.message)

    async def busy_error(self) -> BusyError:
        """Return the error that says who uses the mount."""
        found: list[Holder] = []
        if self._entry is not None:
            with trio.move_on_after(_HOLDERS_S):
                await self._lane.run(collect_holders, self._entry, found)
        who = f"used by {describe(found)}" if found else "used by another user's process, or a mount below it"
        return BusyError(f"cannot unmount {self._mountpoint}: {who}; end that and try again, or detach with --lazy")

    async def _take_away(self, *, lazy: bool) -> None:
        top = await self._lane.run(mount_table.mount_at, self._mountpoint)
        ours = top is not None and top.is_fuse and self._entry in {None, top}
        if not ours:
            raise NotFoundError(f"nothing of ours is mounted at {self._mountpoint}")
        try:
            with trio.fail_after(_CALL_S):
                await self._lane.run(partial(mount_table.unmount, self._mountpoint, lazy=lazy))
        except trio.TooSlowError:
            raise SetupError(
                f"the kernel does not unmount {self._mountpoint} within {_CALL_S:.0f} s; detach it with --lazy"
            ) from None
