"""Tasks that stand or fall together."""

from collections.abc import Awaitable, Callable, Iterable

import trio

from mountd.errors import MountdError


async def run_together(works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Run all `works` at once; the first `MountdError` ends the others and is raised as it is, in no group.

    Whatever is no `MountdError` is a fault of ours and comes out in an exception group.
    """
    failure: MountdError | None = None

    async with trio.open_nursery() as nursery:

        async def run(work: Callable[[], Awaitable[None]]) -> None:
            nonlocal failure
            try:
                await work()
            except MountdError as error:
                if failure is None:
                    failure = error
                nursery.cancel_scope.cancel()

        for work in works:
            nursery.start_soon(run, work)
    if failure is not None:
        raise failure
