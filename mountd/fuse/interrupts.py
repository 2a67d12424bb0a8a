"""Interrupt a read of `/dev/fuse` that waits for a request which is gone.

When the sender of a request is killed, the kernel takes the request back as long as nobody has read it. If that happens
between "there is a request" and the read, the read waits for the next one, and the loop with it, whatever answers are
due. Python runs nothing meanwhile, in no thread: libfuse reads with the interpreter lock held. A signal ends the read
with EINTR, after which pyfuse3 goes on.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

PERIOD_S = 1.0
"""The longest the loop can be held up; each interrupt costs a few microseconds."""


@contextmanager
def regular_interrupts(period_s: float = PERIOD_S) -> Iterator[None]:
    """Interrupt this process's main thread, in which it must be called, every `period_s` seconds."""
    before = signal.signal(signal.SIGALRM, _nothing)
    signal.setitimer(signal.ITIMER_REAL, period_s, period_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _nothing(_number: int, _frame: object) -> None:
    """Being called at all is the point: an ignored signal interrupts nothing."""
