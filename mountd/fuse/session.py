"""One pyfuse3 session: mount, serve, unmount. pyfuse3 keeps its session in module globals: one for each process."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from urllib.parse import quote

import pyfuse3
import trio

from mountd.errors import SetupError
from mountd.fuse import mount_table
from mountd.fuse.fastpath import FastPath, fuse_descriptors
from mountd.fuse.interrupts import regular_interrupts
from mountd.fuse.mount_table import MountEntry
from mountd.fuse.operations import Operations
from mountd.fuse.tuning import tune
from mountd.observe.logs import get_logger

log = get_logger("mountd.fuse")

TASKS = 4000
"""Requests worked on at once. A request that waits for storage holds its task to its end, so this must be more than the
jobs of a node have threads; each costs a megabyte of address space, of which two pages are touched."""
IDLE_TASKS = 10
"""pyfuse3's tasks beyond these end when they have nothing to do."""
FINISH_S = 5.0
"""How long requests under way may take to end once the session is to stop."""


LONGEST_SOURCE = 1000
"""Characters of the source that the mount table shows; the kernel takes one page of options in all."""


class Session:
    """The session of this process."""

    def __init__(self, operations: Operations, mountpoint: str, *, source: str, allow_other: bool) -> None:
        self._operations = operations
        self._mountpoint = mountpoint
        self._options = set(pyfuse3.default_options)
        self._options |= {f"fsname={_shown_as(source)}", "subtype=mountd", "ro"}
        if allow_other:
            self._options.add("allow_other")
        self._stop = trio.Event()
        self._mounted: MountEntry | None = None
        self.tuning: dict[str, str] = {}
        """What the kernel was told, for people."""

    def request_stop(self) -> None:
        """Make `serve` unmount and return."""
        self._stop.set()

    async def serve(self, *, started: Callable[[], None]) -> str:
        """Mount and serve until somebody unmounts ("unmounted") or `request_stop` is called ("stopped").

        Calls `started` when the mount is in the mount table, tuned, and requests are being answered.

        Raises:
            SetupError: the kernel refused the mount.
        """
        before = fuse_descriptors()
        try:
            pyfuse3.init(self._operations, self._mountpoint, self._options)
        except RuntimeError as error:
            raise SetupError(
                f"mount {self._mountpoint}: the kernel or fusermount3 refused; check that /dev/fuse exists and may be "
                "opened, that fuse3 is installed, and for --allow-other that /etc/fuse.conf says user_allow_other"
            ) from error
        with ExitStack() as ending:
            ending.callback(self._close)
            self._mounted = mount_table.mount_at(self._mountpoint)
            ending.callback(self._fast_path(fuse_descriptors() - before))
            ending.enter_context(regular_interrupts())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_on_request, nursery.cancel_scope)
                nursery.start_soon(self._tune, started)
                # A session that fails here leaves by an exception: the supervisor sees the worker end and mends it.
                await pyfuse3.main(min_tasks=IDLE_TASKS, max_tasks=TASKS)
                nursery.cancel_scope.cancel()
        return "stopped" if self._stop.is_set() else "unmounted"

    def _close(self) -> None:
        """Unmount and close; a mount that somebody made here after this one was detached is left alone."""
        top = mount_table.mount_at(self._mountpoint)
        ours = self._mounted is None or (top is not None and top.mount_id == self._mounted.mount_id)
        with suppress(RuntimeError):
            pyfuse3.close(unmount=ours)

    def _fast_path(self, descriptors: set[int]) -> Callable[[], None]:
        """Install the fast path and return what removes it."""
        if len(descriptors) != 1:
            log.warning("fast path off", reason=f"{len(descriptors)} descriptors of /dev/fuse")
            return lambda: None
        fast = FastPath(descriptors.pop())
        if not fast.available:
            log.warning("fast path off", reason="this pyfuse3 has no such hook")
        fast.install()
        return fast.remove

    async def _tune(self, started: Callable[[], None]) -> None:
        await self._operations.initialised.wait()  # the kernel sets its limits anew when INIT is answered
        self.tuning = tune(self._mounted)
        for setting, outcome in self.tuning.items():
            log.info("kernel setting", setting=setting, outcome=outcome)
        started()

    async def _end_on_request(self, serving: trio.CancelScope) -> None:
        await self._stop.wait()
        pyfuse3.terminate()
        await trio.sleep(FINISH_S)
        log.warning("requests under way were cut off", after_s=FINISH_S)
        serving.cancel()


def _shown_as(source: str) -> str:
    """Return `source` as a mount option: pyfuse3 takes ASCII only, the kernel no empty one, and a comma separates."""
    ascii_only = "".join(c if c.isascii() and c.isprintable() else quote(c, errors="surrogateescape") for c in source)
    return ascii_only[:LONGEST_SOURCE].replace("\\", "\\\\").replace(",", "\\,") or "mountd"
