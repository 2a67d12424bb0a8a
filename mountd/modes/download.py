"""Download: open the store, copy everything below a place to a local directory, close the store."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import trio

from mountd.aio.retry import UNREACHED_S, RetryPolicy
from mountd.aio.threads import Lane
from mountd.catalog.model import LocalSpec, Location
from mountd.errors import UsageError
from mountd.modes.datasets import open_place
from mountd.transfer.download import download_tree
from mountd.transfer.limits import TransferLimits
from mountd.transfer.progress import Progress
from mountd.transfer.report import DownloadReport, printable

CLOSE_WITHIN_S = 2.0


async def download(
    location: Location,
    target: Path,
    *,
    overwrite: bool,
    progress: Progress,
    limits: TransferLimits | None = None,
    on_found: Callable[[bool], None] | None = None,
) -> DownloadReport:
    """Download what `location` names into the directory `target`, which is made if it is missing.

    What an earlier run of the same download left unfinished is taken up where the objects are still the same.

    Args:
        location: a store, a directory in it, or one object, which lands in `target` under its own name.
        target: the directory.
        overwrite: replace files that exist; without it they are skipped.
        progress: is moved on as things happen; the caller shows it.
        limits: how much at once.
        on_found: is told whether it is a single file before anything is fetched; what it raises ends the download.

    Returns:
        What was transferred, and what was not: see `TransferReport.check_complete`.

    Raises:
        UsageError: `target` lies inside the local directory that is downloaded.
        NotFoundError: nothing is at `location`.
        NoRoomError: the disk is full; another run goes on from here.
        MountdError: the store or the target cannot be used.
    """
    if isinstance(location.store, LocalSpec):  # a dataset holds what was listed, which no copy is
        inside = await Lane("paths", 1).run(_is_inside, target, Path(location.store.path, location.path))
        if inside:
            raise UsageError(
                f"download {printable(location.source)}: {target} lies inside it, and would be copied into itself; "
                "choose another target"
            )
    store, listing = await open_place(location, RetryPolicy(unreached_s=UNREACHED_S))
    progress.watch(store.in_flight)
    try:
        if on_found is not None and listing is not None:
            on_found(listing.single_file is not None)
            on_found = None
        report = await download_tree(
            store, location.path, target, overwrite=overwrite, progress=progress, limits=limits, on_found=on_found
        )
        if listing is not None and listing.single_file is not None:
            report = replace(report, single_file=target / listing.single_file)
        return report
    finally:
        with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
            await store.aclose()


def _is_inside(target: Path, source: Path) -> bool:
    return source.is_dir() and Path(os.path.realpath(target)).is_relative_to(os.path.realpath(source))
