"""The version of a local file: an ETag from its status, given out only once no later change could share it.

A file system stamps changes with a clock that moves in ticks of 1 to 10 ms. Two changes of equal size within one tick
can leave the same status behind, so a status is trusted only when its last change is older than any tick
("settled"); a younger one is looked at again after a short wait. A file that never settles gets an ETag that matches
nothing.

Two kinds of writers cannot be seen in a status: one that writes through a shared memory map, and one single `write`
call that is still copying its bytes in while the stamps are already set.
"""

import itertools
import os
import threading
import time
from collections.abc import Callable

from mountd.units import ETag

TICK_S = 0.02
"""Longer than any kernel's tick: HZ is 100 at the least."""
_TRIES = 4
_UNSETTLED = itertools.count(1)
_NEVER = threading.Event()


def etag_of(status: os.stat_result) -> ETag:
    """Return the ETag that stands for `status`, settled or not."""
    return ETag(f'"{status.st_mtime_ns:x}-{status.st_ctime_ns:x}-{status.st_size:x}-{status.st_ino:x}"')


def is_settled(status: os.stat_result, now_ns: int) -> bool:
    """Whether a change after `now_ns` would show in the stamps.

    A stamp in the future comes from a wrong clock; it is no reason to wait.
    """
    return not 0 <= now_ns - status.st_ctime_ns < TICK_S * 1e9


def wait_a_tick() -> None:
    """Let a tick pass; runs in threads only."""
    _NEVER.wait(TICK_S)


def settle(look: Callable[[], os.stat_result]) -> tuple[os.stat_result, bool]:
    """Return what `look` sees once it is settled, and whether it is; waits for a few ticks at most."""
    status = look()
    for _ in range(_TRIES):
        if is_settled(status, time.time_ns()):
            return status, True
        wait_a_tick()
        status = look()
    return status, is_settled(status, time.time_ns())


def passing_etag(status: os.stat_result) -> ETag:
    """Return an ETag for a file that is being written to right now; no version will ever match it."""
    return ETag(f'{etag_of(status)[:-1]}-unsettled-{next(_UNSETTLED)}"')
