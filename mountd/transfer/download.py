"""Objects of a store into a directory: parallel over files and over the ranges of large ones.

- Each file is of one version (`transfer.fetch`).
- What fails for one file is a problem in the report; what fails for all (no room, the store gone) ends the run. Either
  way the parts of large files stay, and the next run fetches only what they lack.
- Fetching starts with the first names of the listing and goes on while later pages load; the listing is never held as a
  whole.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from mountd.aio.threads import Lane
from mountd.errors import (
    DeniedError,
    ExistsError,
    MountdError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from mountd.stores.base import ObjectInfo, Page, Store
from mountd.transfer.crew import run_together
from mountd.transfer.destination import Destination, Present, Wanted
from mountd.transfer.fetch import Fetcher
from mountd.transfer.limits import TransferLimits
from mountd.transfer.look import look
from mountd.transfer.plan import FILE_AND_DIRECTORY, DownloadPlan, PlannedFile, Refusal, refusal_reason
from mountd.transfer.progress import Progress
from mountd.transfer.report import DownloadReport, printable
from mountd.transfer.tally import Tally

PLACED_AT_ONCE = 500
"""Names that one call in a thread makes ready: few enough that the first files start at once."""


async def download_tree(
    store: Store,
    path: str,
    target: Path,
    *,
    overwrite: bool,
    progress: Progress,
    limits: TransferLimits | None = None,
    on_found: Callable[[bool], None] | None = None,
) -> DownloadReport:
    """Download the directory or the object `path` of `store` into the directory `target`.

    Args:
        store: where from; stays open.
        path: a key or a directory; "" is the whole store. Where it is both, it is taken as a directory.
        target: made if missing. A single object lands in it under its own name.
        overwrite: replace files that exist; without it they are skipped.
        progress: is moved on as things happen.
        limits: how much at once.
        on_found: is told whether it is a single object before anything is fetched; what it raises ends the download.

    Raises:
        NotFoundError: there is neither an object nor a directory of that name.
        NoRoomError: the disk is full; run it again to go on.
        MountdError: the target cannot be used, or the store cannot.
    """
    started = trio.current_time()
    limits = limits or TransferLimits()
    info, first = await look(store, path)
    if on_found is not None:
        on_found(first is None)
    disk = Lane("transfer-disk", limits.disk_threads)
    destination = await disk.run(partial(Destination, target, f"{store.name}/{path}", overwrite=overwrite))
    tally = Tally(progress, limits.failures_in_a_row, (UnavailableError, DeniedError))
    fetcher = Fetcher(store, destination, disk, progress, limits)
    run = _Run(store, destination, disk, fetcher, tally)
    try:
        if first is not None:
            await fetcher.serve(partial(run.fetch_directory, path, first, info, limits.files))
        elif info is not None:
            await fetcher.serve(partial(run.fetch_single, info))
        await disk.run(partial(destination.finish, unfinished=tally.unfinished))
    finally:
        destination.close()
    return DownloadReport(
        files=tally.files,
        size=tally.size,
        moved=tally.moved,
        skipped=tally.skipped,
        resumed=tally.resumed,
        missing_count=tally.problems.missing,
        seconds=trio.current_time() - started,
        problem_count=tally.problems.count,
        problems=tuple(tally.problems.kept),
        single_file=target / _name(path) if first is None else None,
    )


class _Run:
    """One download: the tasks that list and fetch."""

    def __init__(self, store: Store, destination: Destination, disk: Lane, fetcher: Fetcher, tally: Tally) -> None:
        self._store = store
        self._destination = destination
        self._disk = disk
        self._fetcher = fetcher
        self._tally = tally

    async def fetch_single(self, info: ObjectInfo) -> None:
        """Fetch one object; its failure is the run's."""
        name = _name(info.key)
        reason = refusal_reason(name)
        if reason is not None:
            raise UsageError(f"download {self._store.name}/{printable(info.key)}: {reason}")
        for placed in await self._disk.run(self._destination.place, [PlannedFile(info, name)]):
            if isinstance(placed, Refusal):
                raise ExistsError(f"download {self._store.name}/{printable(info.key)}: {placed.reason}")
            wanted = self._note(placed)
            if wanted is not None:
                self._tally.progress.listed = True
                self._tally.finish(wanted.info.key, await self._fetcher.fetch(wanted))
        self._tally.progress.listed = True

    async def fetch_directory(self, path: str, first: Page, shadowed: ObjectInfo | None, workers: int) -> None:
        """Fetch everything below `path`.

        Args:
            path: the directory.
            first: the first page of its listing.
            shadowed: the object that has the directory's own name, if there is one.
            workers: files in flight.
        """
        if shadowed is not None and shadowed.size:
            self._tally.refuse(shadowed.key, FILE_AND_DIRECTORY)
        # Two pages: while the files of one are fetched, the next one is on its way.
        send, receive = trio.open_memory_channel[Wanted](2 * self._store.capabilities.page_limit)
        crew = [partial(self._work, receive.clone()) for _ in range(workers)]
        receive.close()
        await run_together([partial(self._list, path, first, send), *crew])

    async def _list(self, path: str, page: Page, send: trio.MemorySendChannel[Wanted]) -> None:
        plan = DownloadPlan(path)
        async with send:
            while True:
                entries = list(plan.feed(page))
                if page.next is None:
                    entries += plan.finish()
                for start in range(0, len(entries), PLACED_AT_ONCE):
                    batch = entries[start : start + PLACED_AT_ONCE]
                    placed = await self._disk.run(self._destination.place, batch)
                    wanted = [item for item in map(self._note, placed) if item is not None]
                    for item in wanted:
                        await send.send(item)
                if page.next is None:
                    self._tally.progress.listed = True
                    return
                page = await self._store.walk_page(path, page.next)

    def _note(self, placed: Wanted | Present | Refusal) -> Wanted | None:
        """Count `placed` and return it if it is to be fetched."""
        if isinstance(placed, Wanted):
            self._tally.progress.found(placed.info.size)
            return placed
        if isinstance(placed, Refusal):
            self._tally.refuse(placed.name, placed.reason)
        elif placed.ours:
            self._tally.resumed += 1
        else:
            self._tally.skip(placed.info.key)
        return None

    async def _work(self, receive: trio.MemoryReceiveChannel[Wanted]) -> None:
        async with receive:
            async for wanted in receive:
                try:
                    self._tally.finish(wanted.info.key, await self._fetcher.fetch(wanted))
                except ExistsError:
                    self._tally.skip(wanted.info.key)
                    self._tally.progress.forgotten(wanted.info.size)
                except NotFoundError:
                    self._tally.fail(wanted.info.key, NotFoundError("it was deleted while the download ran"))
                except MountdError as error:
                    self._tally.fail(wanted.info.key, error)


def _name(key: str) -> str:
    return key.rpartition("/")[2]
