"""Ask the kernel for the next request before asking trio: twice the requests a second.

Stock pyfuse3 takes a lock and goes through epoll for every request. `poll(2)` with no timeout first costs a
microsecond, and under load there nearly always is a request. This wraps a private name of pyfuse3 3.5 (the bound in
pyproject.toml is its guard); where the name is missing, stock pyfuse3 serves.

The trap: a task that waited in epoll may wake to find that another took its request by the fast path. Reading then
would block the whole loop, so after every wait the descriptor is polled again.
"""

import select
from collections.abc import Awaitable, Callable
from pathlib import Path

import pyfuse3
import trio

WAIT = "_wait_fuse_readable"
FAIR_EVERY = 32
"""Every so many requests in a row the loop's other tasks get their turn."""


def fuse_descriptors() -> set[int]:
    """Return this process's open `/dev/fuse` descriptors."""
    found: set[int] = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            if link.readlink() == Path("/dev/fuse"):
                found.add(int(link.name))
        except OSError:
            continue  # closed since
    return found


def wait_readable(
    readable: Callable[[], bool], wait: Callable[[], Awaitable[bool]], *, fair_every: int = FAIR_EVERY
) -> Callable[[], Awaitable[bool]]:
    """Return a wait that takes the fast path.

    Args:
        readable: whether a request is there now.
        wait: waits as stock pyfuse3 does; False means that the session is over.
        fair_every: after so many fast turns in a row, let others run.
    """
    turns = 0

    async def fast_wait() -> bool:
        nonlocal turns
        turns += 1
        if turns >= fair_every:
            turns = 0
            await trio.lowlevel.checkpoint()
        while not readable():
            if not await wait():
                return False
        return True

    return fast_wait


class FastPath:
    """The fast path of one session, from `install` to `remove`."""

    def __init__(self, descriptor: int) -> None:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        self._original: Callable[[], Awaitable[bool]] | None = getattr(pyfuse3, WAIT, None)
        self._poller = poller

    @property
    def available(self) -> bool:
        """Whether this pyfuse3 has the name to wrap."""
        return self._original is not None

    def install(self) -> None:
        """Put the fast path in place, if it is available."""
        if self._original is not None:
            setattr(pyfuse3, WAIT, wait_readable(self._readable, self._original))

    def remove(self) -> None:
        """Put the original back."""
        if self._original is not None:
            setattr(pyfuse3, WAIT, self._original)

    def _readable(self) -> bool:
        # POLLERR and POLLHUP count too: the read that follows reports the end of the session.
        return bool(self._poller.poll(0))
