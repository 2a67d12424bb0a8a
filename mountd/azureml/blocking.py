"""Runs mountd's asynchronous parts for a script that knows nothing of them: in a notebook, below trio and asyncio."""

import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
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

        def cancel() -> bool:
            for told in cancels:
                with contextlib.suppress(trio.RunFinishedError):
                    told()
            return bool(cancels)

        # The thread has a loop already: trio's, or asyncio's with handlers of signals, which trio would keep from it.
        return _in_a_thread(lambda: to_the_end(one_outcome_elsewhere), cancel)


def _in_a_thread(call: Callable[[], T], cancel: Callable[[], bool]) -> T:
    """Return what `call` does in a thread of its own; Ctrl-C waits for its end.

    Args:
        call: what to do.
        cancel: makes `call` end early; False: it has not come so far that it could be told.
    """
    import outcome  # noqa: PLC0415 - importing the API is light

    future: Future[outcome.Outcome[T]] = Future()

    def work() -> None:
        if future.set_running_or_notify_cancel():
            future.set_result(outcome.capture(call))

    try:
        threading.Thread(target=work, name="mountd").start()
        return future.result().unwrap()
    except KeyboardInterrupt:
        # It may come at any line, also between the thread's first step and the end of `start`.
        if not future.cancel():
            while not cancel() and not future.done():
                wait([future], _LOOK_EVERY_S)
            wait([future])
        raise


def _signals_are_taken() -> bool:
    """Whether somebody has Python's one descriptor that is told of signals: trio would take it, with a warning."""
    if threading.current_thread() is not threading.main_thread():
        return False
    descriptor = signal.set_wakeup_fd(-1)
    if descriptor != -1:
        signal.set_wakeup_fd(descriptor)
    return descriptor != -1
