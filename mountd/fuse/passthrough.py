"""Opens that leave the reads of a file to the kernel, which reads the disk cache's file itself (FUSE_PASSTHROUGH).

The kernel counts, for each inode, either handles that read through its page cache or handles that pass through, all to
one and the same backing; it fails an open of the other kind with EIO. So an inode is open in one mode, from its first
handle to its last:

- The kernel counts a handle from the answer to OPEN on, and not any more before it sends RELEASE (`fuse_file_put` in
  fs/fuse/file.c; where reads are under way it does both later). Here it counts from before the answer until after
  RELEASE was read. So what the kernel counts is counted here as well, in the same mode, and where nothing is counted
  here the kernel counts nothing: any mode will do.
- Between the kernel's letting go of the last handle and RELEASE being read, an open goes the old way. That is right
  too: the kernel is free to begin anew with either mode, and the backing is still registered.
- A mapping that outlives its handle has the backing file itself, and counts as nothing on either side.

A file that is open by passthrough may be found wrong, or its disk be in trouble. The kernel has who opens it then open
the same backing all the same, but takes FOPEN_DIRECT_IO with it: so `read` comes here, as for O_DIRECT.

Whatever fails, the file is opened through the page cache: passthrough is never an error of an open.
"""

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import trio

from mountd.aio.threads import Lane
from mountd.fuse import protocol
from mountd.fuse.backings import BackingRefusedError, Backings
from mountd.fuse.open_answers import cached
from mountd.observe.logs import get_logger
from mountd.vfs.whole_files import WholeFile

REGISTER_S = 3.0
"""How long an open waits for the disk to open a file."""
NOT_AT_ALL = {
    errno.EPERM: "it takes the capability SYS_ADMIN",
    errno.ELOOP: "file systems lie upon each other below the cache directory",
    errno.EINVAL: "",
    errno.ENOTTY: "",
    errno.EOPNOTSUPP: "",
}
"""Refusals that every other file would meet as well."""
_AT_ONCE = 8

log = get_logger("mountd.fuse")


class PassthroughWish(NamedTuple):
    """What a session should do about it."""

    find: Callable[[int], WholeFile | None]
    """Returns the file that holds all of an inode; None: it is to be opened through the page cache."""
    stack_depth: int
    """How many file systems will lie upon each other with the session's: 1 or 2."""
    unless: str = ""
    """Why it cannot be used, for people; empty: try."""
    give_up: Callable[[], None] = lambda: None
    """Is told that it is not used: nobody need look at files any more."""


class _Mode:
    """How one inode is open, from its first handle to its last."""

    __slots__ = ("backing", "handles", "node", "settled", "whole")

    def __init__(self, node: int, whole: WholeFile | None) -> None:
        self.node = node
        self.whole = whole
        """What is registered, or to be; None: it is open through the page cache."""
        self.backing = 0
        """Its number, once it is registered."""
        self.handles = 0
        self.settled: trio.Event | None = None
        """Set when it is known whether it could be registered; None: nobody has begun to."""


class _Registering:
    """One registration; if whoever waits for it gives it up, the thread that comes to its end takes it back."""

    def __init__(self, backings: Backings, whole: WholeFile) -> None:
        self._backings = backings
        self._whole = whole
        self._lock = threading.Lock()
        self._given_up = False
        self._backing = 0

    def run(self) -> None:
        """Register the file; in a thread."""
        file = self._whole.open()
        try:
            backing = self._backings.open(file)
        finally:
            os.close(file)
        with self._lock:
            if not self._given_up:
                self._backing = backing
                return
        self._backings.close(backing)

    def take(self) -> int:
        """Return the backing's number, 0 if there is none; `run` will not register any more."""
        with self._lock:
            self._given_up = True
            return self._backing


class Passthrough:
    """The opens of one session.

    Args:
        backings: of the session.
        find: returns the file that holds all of an inode; None: it is to be opened through the page cache.
        stack_depth: how many file systems lie upon each other with this one, of which the kernel allows 2.
        give_up: is told that `find` will not be called any more.
    """

    def __init__(
        self,
        backings: Backings,
        find: Callable[[int], WholeFile | None],
        *,
        stack_depth: int,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._backings = backings
        self._find = find
        self._stack_depth = stack_depth
        self._give_up = give_up
        self._modes: dict[int, _Mode] = {}
        self._handles: dict[int, tuple[_Mode, int]] = {}
        """Mode and flags of each open handle; with O_DIRECT `read` is to come here."""
        self._registering = Lane("files for the kernel", _AT_ONCE)
        self._closing = Lane("files back from the kernel", 1)
        self._off: str | None = "the kernel has not been asked yet"

    def describe(self) -> str:
        """Return whether it is used, or why not, for people."""
        return "on" if self._off is None else f"off: {self._off}"

    def count(self) -> int:
        """Return how many handles pass through."""
        return sum(mode.handles for mode in self._modes.values() if mode.backing)

    def close(self) -> None:
        """The session is over."""
        self._backings.end()

    def wanted(self, offered: int) -> tuple[int, int]:
        """Ask for passthrough where the kernel offers it."""
        if offered & protocol.INIT_EXT and offered & protocol.PASSTHROUGH:
            self._off = None
            return protocol.INIT_EXT | protocol.PASSTHROUGH, self._stack_depth
        self._end("this kernel does not offer it; Linux 6.9 and newer do")
        return 0, 0

    def try_out(self) -> None:
        """Offer the kernel a file in memory once INIT is answered: who lacks the capability is told before all else."""
        if self._off is not None:
            return
        try:
            file = os.memfd_create("mountd passthrough")
        except OSError:  # no descriptor is left, say
            return
        try:
            backing = self._backings.open(file)
        except BackingRefusedError as error:
            self._refused(error)
        else:
            with suppress(OSError):  # the session is over
                self._backings.close(backing)
        finally:
            os.close(file)

    def begin(self, node: int, number: int, flags: int) -> bytes | None:
        """Count a handle and return what its OPEN is answered; None: that is being found out."""
        mode = self._modes.get(node)
        if mode is None:
            # O_DIRECT at any alignment is what the page cache's side offers, and the disk's file system may not
            passes = self._off is None and not flags & os.O_DIRECT
            mode = self._modes[node] = _Mode(node, self._find(node) if passes else None)
            if mode.whole is not None:
                self._register_now(mode, mode.whole)
        elif mode.backing and self._find(node) != mode.whole:
            flags |= os.O_DIRECT  # it is not known to be right any more
        mode.handles += 1
        self._handles[number] = mode, flags
        return self._answer(mode, number, flags) if mode.whole is None or mode.backing else None

    async def settle(self, number: int) -> bytes:
        """Return what an OPEN is answered that `begin` could not answer."""
        mode, flags = self._handles[number]
        if mode.settled is None:
            mode.settled = trio.Event()
            await self._register(mode)
        else:
            await mode.settled.wait()
        return self._answer(mode, number, flags)

    def end(self, number: int) -> None:
        """A handle is released; with the last one of its inode the kernel's file goes."""
        found = self._handles.pop(number, None)
        if found is None:  # of a directory
            return
        mode, _ = found
        mode.handles -= 1
        if mode.handles:
            return
        del self._modes[mode.node]
        if mode.backing:
            assert mode.whole is not None, "it was registered"
            mode.whole.closed()
            with suppress(RuntimeError):  # no thread to be had: it stays until the session ends
                self._closing.post(self._backings.close, mode.backing)

    def _register_now(self, mode: _Mode, whole: WholeFile) -> None:
        """Register a file if that takes no disk: a third of the time that it takes in a thread."""
        file = whole.open_now()
        if file is None:
            return
        try:
            mode.backing = self._backings.open(file)
            whole.opened()
        except BackingRefusedError as error:
            mode.whole = None
            self._refused(error)
        finally:
            os.close(file)

    async def _register(self, mode: _Mode) -> None:
        whole, settled = mode.whole, mode.settled
        assert whole is not None, "there is something to register"
        assert settled is not None, "others wait for it"
        registering = _Registering(self._backings, whole)
        whole.opened()
        try:
            with trio.fail_after(REGISTER_S):
                await self._registering.run(registering.run)
        except trio.TooSlowError:
            whole.failed(TimeoutError(f"the disk did not open a file within {REGISTER_S:g} s"))
        except BackingRefusedError as error:
            self._refused(error)
        except OSError as error:
            whole.failed(error)
        except Exception:  # a bug, or no thread to be had
            log.exception("a file is read through the page cache")
        finally:
            mode.backing = registering.take()
            if not mode.backing:
                mode.whole = None
                whole.closed()
            settled.set()

    def _refused(self, error: BackingRefusedError) -> None:
        if error.errno in NOT_AT_ALL:
            hint = NOT_AT_ALL[error.errno]
            if self._off is None:
                self._end(f"{error.strerror}; {hint}" if hint else str(error.strerror))
        else:  # such as ENOMEM
            log.warning("a file is read through the page cache", why=str(error))

    def _end(self, why: str) -> None:
        self._off = why
        log.warning("passthrough is not used", why=why)
        self._give_up()

    def _answer(self, mode: _Mode, number: int, flags: int) -> bytes:
        if not mode.backing:
            return cached(number)
        kind = protocol.FOPEN_PASSTHROUGH
        if flags & os.O_DIRECT:
            kind |= protocol.FOPEN_DIRECT_IO
        return protocol.OPEN_OUT_BACKED.pack(number, kind, mode.backing)
