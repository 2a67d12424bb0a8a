"""Runs mountd's asynchronous parts for a script that knows nothing of them: in a notebook and below trio as well."""

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mountd.azureml.errors import as_api_errors
from mountd.errors import MountdError

T = TypeVar("T")


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

    def to_the_end() -> T:
        outcome = trio.run(one_outcome, strict_exception_groups=True)
        if isinstance(outcome, MountdError):
            raise outcome
        return outcome

    with as_api_errors():
        if not trio.lowlevel.in_trio_run():
            return to_the_end()
        # A script that is itself a trio program: its thread has a loop already.
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(to_the_end).result()
