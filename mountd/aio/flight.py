"""Single-flight calls: however many ask for one key, one call runs, and all get its outcome.

The call runs in the nursery given at construction, not in the first caller's task: a caller that is cancelled leaves
alone, and the others still get their answer. Only the owner of the nursery ends running calls.
"""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from mountd.errors import UnavailableError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Call(Generic[T]):
    __slots__ = ("done", "error", "result")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.result: T | None = None
        self.error: Exception | None = None


class SingleFlight(Generic[K, T]):
    """A map of running calls by key."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._calls: dict[K, _Call[T]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    async def run(self, key: K, call: Callable[[], Awaitable[T]]) -> T:
        """Return the outcome of the call that runs for `key`, starting `call` if none does."""
        flight = self._calls.get(key)
        if flight is None:
            flight = _Call()
            self._nursery.start_soon(self._fly, key, flight, call)  # raises if the owner is gone: then nobody waits
            self._calls[key] = flight
        await flight.done.wait()
        if flight.error is not None:
            # A fresh traceback for each waiter: one exception object raised in two tasks would share its frames.
            raise flight.error.with_traceback(None)
        return flight.result  # type: ignore[return-value] # set together with done

    async def _fly(self, key: K, flight: _Call[T], call: Callable[[], Awaitable[T]]) -> None:
        try:
            flight.result = await call()
        except Exception as error:  # noqa: BLE001 - handed to the waiters
            flight.error = error
        except BaseException:
            flight.error = UnavailableError("nobody answers any more: the mount is ending")
            raise
        finally:
            # no await: the key is free again at the moment the outcome is known
            del self._calls[key]
            flight.done.set()
