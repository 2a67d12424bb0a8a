"""One session: mount, serve, unmount.

pyfuse3 mounts and unmounts, and keeps its session in module globals: one for each process. An engine answers the
requests in between.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Protocol
from urllib.parse import quote

import pyfuse3
import trio

from mountd.aio.threads import Lane
from mountd.errors import BusyError, SetupError
from mountd.fuse import mount_table
from mountd.fuse.backings import Backings
from mountd.fuse.convert import AttributeMaker, AttributePacker, Ownership
from mountd.fuse.direct import DirectEngine
from mountd.fuse.failures import Failures
from mountd.fuse.fastpath import fuse_descriptors
from mountd.fuse.libfuse import LibfuseEngine
from mountd.fuse.mount_table import MountEntry
from mountd.fuse.operations import Operations
from mountd.fuse.passthrough import Passthrough, PassthroughWish
from mountd.fuse.tuning import CONGESTION, MAX_BACKGROUND, ReadSizes, tune
from mountd.observe.logs import get_logger
from mountd.vfs.filesystem import FileSystem

log = get_logger("mountd.fuse")

FINISH_S = 5.0
"""How long requests under way may take to end once the session is to stop."""
LONGEST_SOURCE = 1000
"""Characters of the source that the mount table shows; the kernel takes one page of options in all."""


class Engine(Protocol):
    """What answers the requests of a session."""

    @property
    def initialised(self) -> trio.Event:
        """Set when the first request of all has been answered, as soon as others can run."""

    def request_stop(self) -> None:
        """Make `serve` return when the requests under way are answered."""

    async def serve(self) -> None:
        """Answer requests until the kernel ends the session, or `request_stop`."""


class Session:
    """The session of this process.

    Args:
        filesystem: does the work.
        ownership: of everything in the mount.
        mountpoint: an absolute path.
        source: what the mount table shows.
        allow_other: other users may use the mount.
        direct: answer requests ourselves; else libfuse does.
        reads: how much the kernel is to read at once; libfuse lets it send READs of the largest size all the same.
        passthrough: how the kernel is to read files itself; None: it is not.
    """

    def __init__(
        self,
        filesystem: FileSystem,
        ownership: Ownership,
        mountpoint: str,
        *,
        source: str,
        allow_other: bool,
        reads: ReadSizes,
        direct: bool = True,
        passthrough: PassthroughWish | None = None,
    ) -> None:
        self._filesystem = filesystem
        self._attributes = AttributePacker(ownership)
        self.failures = Failures()
        self._operations = Operations(filesystem, AttributeMaker(ownership), self.failures)
        self._direct = direct
        self._wish = passthrough
        self._passthrough: Passthrough | None = None
        self._mountpoint = mountpoint
        self._options = set(pyfuse3.default_options)
        self._options |= {f"fsname={_shown_as(source)}", "subtype=mountd", "ro"}
        self._reads = reads
        if allow_other:
            self._options.add("allow_other")
        self._stop = trio.Event()
        self._mounted: MountEntry | None = None
        self._tuned: dict[str, str] = {}
        self._over = False

    @property
    def tuning(self) -> dict[str, str]:
        """What the kernel was told, for people."""
        if self._wish is None:
            return self._tuned
        said = f"off: {self._wish.unless or 'libfuse answers requests'}"
        return {**self._tuned, "passthrough": said if self._passthrough is None else self._passthrough.describe()}

    @property
    def passthrough_handles(self) -> int:
        """Handles whose reads the kernel answers itself."""
        return 0 if self._passthrough is None else self._passthrough.count()

    @property
    def is_over(self) -> bool:
        """The kernel has nothing of the mount any more, here or elsewhere."""
        return self._over

    def request_stop(self) -> None:
        """Make `serve` unmount and return."""
        self._stop.set()

    async def serve(self, *, started: Callable[[], None]) -> str:
        """Mount and serve until somebody unmounts ("unmounted") or `request_stop` is called ("stopped").

        Calls `started` when the mount is in the mount table, tuned, and requests are being answered.

        Raises:
            MountdError: the kernel refused the mount, or speaks another protocol; something is mounted there; or
                somebody aborted the connection. What was mounted stays, and is an error to whoever uses it.
        """
        # A worker that died has left its mount here: until this moment, for an empty directory would be no error.
        await Lane("dead mounts", 1).run(_make_way, self._mountpoint)
        before = fuse_descriptors()
        try:
            pyfuse3.init(self._operations, self._mountpoint, self._options)
        except RuntimeError as error:
            raise SetupError(
                f"mount {self._mountpoint}: the kernel or fusermount3 refused; check that /dev/fuse exists and may be "
                "opened, that fuse3 is installed, and for --allow-other that /etc/fuse.conf says user_allow_other"
            ) from error
        with ExitStack() as ending:
            ending.push(self._close)
            self._mounted = mount_table.mount_at(self._mountpoint)
            engine = self._engine(fuse_descriptors() - before)
            if self._passthrough is not None:
                ending.callback(self._passthrough.close)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_on_request, engine, nursery.cancel_scope)
                nursery.start_soon(self._tune, engine, started)
                # A session that fails here leaves by an exception: the supervisor sees the worker end and mends it.
                await engine.serve()
                self._over = True
                nursery.cancel_scope.cancel()
            if self._stop.is_set():
                return "stopped"
            if self._is_mounted():
                raise SetupError("the connection to the kernel was aborted")
        return "unmounted"

    def _is_mounted(self) -> bool:
        """Whether the path still is this session's mount."""
        return self._mounted is not None and mount_table.is_on_top(self._mounted)

    def _close(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        """Unmount and close; a mount that somebody made here after this one was detached is left alone.

        After a failure the mount stays, dead: the supervisor takes it away or has another worker mend it, and until
        then an error is better than an empty directory.
        """
        failed = isinstance(error, Exception)
        with suppress(RuntimeError):
            pyfuse3.close(unmount=not failed and (self._mounted is None or self._is_mounted()))

    def _engine(self, descriptors: set[int]) -> Engine:
        wish = self._wish
        if self._direct and len(descriptors) == 1:
            descriptor = descriptors.pop()
            if wish is not None and not wish.unless:
                self._passthrough = Passthrough(
                    Backings(descriptor), wish.find, stack_depth=wish.stack_depth, give_up=wish.give_up
                )
            return DirectEngine(
                descriptor,
                self._filesystem,
                self._attributes,
                self.failures,
                max_background=MAX_BACKGROUND,
                congestion=CONGESTION,
                largest_read=self._reads.request,
                opens=self._passthrough,
            )
        if self._direct:
            log.warning("libfuse answers requests", reason=f"{len(descriptors)} descriptors of /dev/fuse")
        if wish is not None:
            wish.give_up()
        return LibfuseEngine(descriptors, self._operations)

    async def _tune(self, engine: Engine, started: Callable[[], None]) -> None:
        await engine.initialised.wait()  # the kernel sets its limits anew when INIT is answered
        if self._passthrough is not None:
            self._passthrough.try_out()
        is_direct = isinstance(engine, DirectEngine)
        self._tuned = tune(self._mounted, background_set=is_direct, read_ahead=self._reads.ahead)
        for setting, outcome in self.tuning.items():
            log.info("kernel setting", setting=setting, outcome=outcome)
        started()

    async def _end_on_request(self, engine: Engine, serving: trio.CancelScope) -> None:
        await self._stop.wait()
        engine.request_stop()
        await trio.sleep(FINISH_S)
        log.warning("requests under way were cut off", after_s=FINISH_S)
        serving.cancel()


def _make_way(mountpoint: str) -> None:
    """Take away what a worker that died has left.

    Raises:
        BusyError: something is alive there.
    """
    mount_table.heal(mountpoint)
    entry = mount_table.mount_at(mountpoint)
    if entry is not None:
        raise BusyError(f"{mountpoint} has {entry.source} mounted on it ({entry.fstype}); unmount that first")


def _shown_as(source: str) -> str:
    """Return `source` as a mount option: pyfuse3 takes ASCII only, the kernel no empty one, and a comma separates."""
    ascii_only = "".join(c if c.isascii() and c.isprintable() else quote(c, errors="surrogateescape") for c in source)
    return ascii_only[:LONGEST_SOURCE].replace("\\", "\\\\").replace(",", "\\,") or "mountd"
