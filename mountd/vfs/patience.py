"""How long an operation may wait: a deadline from the last progress, and less for a store that is known to be silent.

Each request to the store ends by its own lack of progress; an operation, which may wait for requests of others as well,
waits as long as any of them gets on.

Lookups of one directory may come one after the other: were each to wait a whole deadline, the last of many
programs would hear of a dead store hours later. So after a wait in which nothing at all came from the store, later
waits are short, until

- anything comes from it, be it too late for who asked: a store that is only slow must not stay out of reach; or
- nobody has waited in vain for as long as a deadline.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from mountd.aio.retry import QUIET_PART
from mountd.errors import DeadlineError

IMPATIENT_S = 2.0
"""How long to wait for a store that is known to be silent."""


class Patience:
    """The deadline of one mount's operations.

    Args:
        deadline_s: the longest an operation may wait without progress.
        heard: returns a number that grows with everything that comes from the store.
    """

    def __init__(self, deadline_s: float, heard: Callable[[], int]) -> None:
        self._deadline_s = deadline_s
        self._heard = heard
        self._silent_at = -1
        """What had been heard when a wait ended in which nothing came."""
        self._silent_until = -math.inf
        self._waiting: set[trio.CancelScope] = set()
        self._moves = 0

    def put_off(self) -> None:
        """The store sends something that takes long."""
        self._moves += 1
        deadline = trio.current_time() + self._deadline_s * (1 + 2 * QUIET_PART)  # after the requests' own
        for scope in self._waiting:
            scope.deadline = deadline

    @contextmanager
    def bound(self, operation: str, name: bytes) -> Iterator[None]:
        """Bound the wait inside.

        Raises:
            DeadlineError: it took too long.
        """
        heard = self._heard() + self._moves
        silent = heard == self._silent_at and trio.current_time() < self._silent_until
        limit_s = min(self._deadline_s, IMPATIENT_S) if silent else self._deadline_s
        try:
            with trio.fail_after(limit_s) as scope:
                self._waiting.add(scope)
                try:
                    yield
                finally:
                    self._waiting.discard(scope)
        except (trio.TooSlowError, DeadlineError) as error:
            if self._heard() + self._moves == heard:
                self._silent_at = heard
                self._silent_until = trio.current_time() + self._deadline_s
            if isinstance(error, DeadlineError):
                raise
            what = name.decode("utf-8", "replace")
            raise DeadlineError(f"{operation} {what}: no progress for {limit_s:g} s") from None
