"""An engine that leaves the kernel's requests to libfuse, through pyfuse3: for where the direct one will not do."""

import errno
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack

import pyfuse3
import trio

from mountd.fuse.fastpath import FastPath
from mountd.fuse.interrupts import regular_interrupts
from mountd.fuse.operations import Operations
from mountd.observe.logs import get_logger

TASKS = 4000
"""Requests worked on at once. A request that waits for storage holds its task to its end, so this must be more than the
jobs of a node have threads; each costs a megabyte of address space, of which two pages are touched."""
IDLE_TASKS = 10
"""pyfuse3's tasks beyond these end when they have nothing to do."""

log = get_logger("mountd.fuse")


class LibfuseEngine:
    """The requests of the session of this process.

    Args:
        descriptors: of `/dev/fuse`, as far as they are known to be the session's.
    """

    def __init__(self, descriptors: set[int], operations: Operations) -> None:
        self._descriptors = descriptors
        self._operations = operations

    @property
    def initialised(self) -> trio.Event:
        """Set as INIT, the first request of all, is being answered; who waits for it runs when it has been."""
        return self._operations.initialised

    def request_stop(self) -> None:
        """Make `serve` return when the requests under way are answered."""
        pyfuse3.terminate()

    async def serve(self) -> None:
        """Answer requests until the kernel ends the session, or `request_stop`."""
        with ExitStack() as ending:
            pyfuse3_log = logging.getLogger("pyfuse3")
            pyfuse3_log.addFilter(_is_trouble)
            ending.callback(pyfuse3_log.removeFilter, _is_trouble)
            ending.callback(self._fast_path())
            ending.enter_context(regular_interrupts())
            await pyfuse3.main(min_tasks=IDLE_TASKS, max_tasks=TASKS)

    def _fast_path(self) -> Callable[[], None]:
        """Install the fast path and return what removes it."""
        if len(self._descriptors) != 1:
            log.warning("fast path off", reason=f"{len(self._descriptors)} descriptors of /dev/fuse")
            return lambda: None
        fast = FastPath(next(iter(self._descriptors)))
        if not fast.available:
            log.warning("fast path off", reason="this pyfuse3 has no such hook")
        fast.install()
        return fast.remove


def _is_trouble(record: logging.LogRecord) -> bool:
    """Whether a line of pyfuse3's is worth showing: a reply to a request that ended with its mount is no error."""
    line = record.getMessage()
    return not ("fuse_reply_* failed" in line and line.endswith(os.strerror(errno.ENOENT)))
