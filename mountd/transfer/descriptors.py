"""File descriptors that threads use while the event loop may close them.

A cancelled task leaves its blocking call behind in the thread (`aio.threads`). If the descriptor were closed at once,
its number could belong to another file by the time the thread comes to its system call: old bytes would land there.
So: `close` takes effect when the last user has left, and nobody can enter afterwards.
"""

import os
import threading
from types import TracebackType


class Descriptors:
    """Owns some descriptors; `with descriptors:` uses them."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers
        self._lock = threading.Lock()
        self._users = 0
        self._closing = False

    def __enter__(self) -> None:
        with self._lock:
            if self._closing:
                raise ValueError("the file was closed before this call began")
            self._users += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._users -= 1
            last = self._closing and self._users == 0
        if last:
            self._close_now()

    def close(self) -> None:
        """Close the descriptors as soon as nobody uses them; may be called again."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            idle = self._users == 0
        if idle:
            self._close_now()

    def _close_now(self) -> None:
        for number in self._numbers:
            os.close(number)
