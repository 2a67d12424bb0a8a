"""Runs mountd's asynchronous parts for a script that knows nothing of them: in a notebook, below trio and asyncio."""

import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mountd.azureml.errors import as_api_errors
from mountd.errors import MountdError

T = TypeVar("T")

_LOOK_EVERY_S = 0.05


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Return what `work` does; Ctrl-C cancels it and gives everything back.

    Raises:
        AzureMLException: for any `MountdError` that `work` raised, in no group.
    """
    import trio  # noqa: PLC0415 - importing the API is light

    async def one_outcome() -> T | MountdError:
        try:
            return await work()
        except MountdError as error:
            return error

    def to_the_end(main: Callable[[], Awaitable[T | MountdError]]) -> T:
        outcome = trio.run(main, strict_exception_groups=True)
        if isinstance(outcome, MountdError):
            raise outcome
        return outcome

    with as_api_errors():
        if not trio.lowlevel.in_trio_run() and not _signals_are_taken():
            return to_the_end(one_outcome)

        cancels: list[Callable[[], None]] = []

        async def one_outcome_elsewhere() -> T | MountdError:
            with trio.CancelScope() as scope:
                token = trio.lowlevel.current_trio_token()
                cancels.append(lambda: token.run_sync_soon(scope.cancel))
                return await one_outcome()
            raise AssertionError("nobody waits for what was cancelled")

        # The thread has a loop already: trio's, or asyncio's with handlers of signals, which trio would keep from it.
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(to_the_end, one_outcome_elsewhere)
            try:
                return future.result()
            except KeyboardInterrupt:
                while not cancels and not future.done():
                    with contextlib.suppress(TimeoutError):
                        future.exception(_LOOK_EVERY_S)
                for cancel in cancels:
                    with contextlib.suppress(trio.RunFinishedError):
                        cancel()
                raise  # once the pool has seen the end of it


def _signals_are_taken() -> bool:
    """Whether somebody has Python's one descriptor that is told of signals: trio would take it, with a warning."""
    if threading.current_thread() is not threading.main_thread():
        return False
    descriptor = signal.set_wakeup_fd(-1)
    if descriptor != -1:
        signal.set_wakeup_fd(descriptor)
    return descriptor != -1
