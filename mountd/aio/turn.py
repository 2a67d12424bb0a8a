"""A lock of threads, held for what a store sends: who waits for it gets on as its holder does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mountd.aio.progress import Progress, current


class Turn:
    """Lets one thread at a time do something that takes as long as bytes come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Progress] = []

    @contextmanager
    def taken(self, limit_s: float) -> Iterator[bool]:
        """Hold the lock in the body; False: there was no progress for `limit_s` seconds, and it is not held."""
        mine = current()
        if not self._acquire(mine, limit_s):
            yield False
            return
        mine.lead(self._waiting)
        try:
            yield True
        finally:
            mine.leave(self._waiting)
            self._lock.release()

    @contextmanager
    def taken_at_once(self) -> Iterator[bool]:
        """Hold the lock in the body if nobody else does."""
        if not self._lock.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            self._lock.release()

    def _acquire(self, mine: Progress, limit_s: float) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        self._waiting.append(mine)
        try:
            while (left_s := mine.left_s(limit_s)) > 0:
                if self._lock.acquire(timeout=left_s):
                    return True
        finally:
            self._waiting.remove(mine)
        return False
