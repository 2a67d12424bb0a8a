"""Upload: open the store, copy a local file or directory to a place in it, close the store."""

import os
from collections.abc import Callable
from pathlib import Path

import trio

from mountd.aio.retry import UNREACHED_S, RetryPolicy
from mountd.aio.threads import Lane
from mountd.catalog.model import DatasetSpec, LocalSpec, Location
from mountd.errors import ReadOnlyError, UsageError
from mountd.stores.open import open_store
from mountd.transfer.limits import TransferLimits
from mountd.transfer.progress import Progress
from mountd.transfer.report import UploadReport, printable
from mountd.transfer.upload import upload_tree

CLOSE_WITHIN_S = 2.0


async def upload(
    source: Path,
    location: Location,
    *,
    overwrite: bool,
    progress: Progress,
    wanted: Callable[[str], bool] | None = None,
    limits: TransferLimits | None = None,
) -> UploadReport:
    """Upload the file or directory `source` to the directory that `location` names.

    Args:
        source: a directory, whose contents land in the target, or a file, which lands in it under its own name.
        location: the directory; it need not exist. For a file it may also be the object itself, if its last part is the
            file's name and it was not written with a slash at its end.
        overwrite: replace objects that exist; without it they are skipped.
        progress: is moved on as things happen; the caller shows it.
        wanted: tells of a file's path below `source` whether to upload it; of all if left out.
        limits: how much at once.

    Returns:
        What was transferred, and what was not: see `TransferReport.check_complete`.

    Raises:
        NotFoundError: there is no `source`, or no such container.
        NotDirectoryError: the target is an object.
        ReadOnlyError: the target is not written to.
        UsageError: `source` is the target.
        MountdError: the store cannot be used.
    """
    leave_out = None
    if isinstance(location.store, DatasetSpec):
        raise ReadOnlyError(
            f"upload {source}: {printable(location.source)} is a dataset, which never changes; name a datastore's path"
        )
    if isinstance(location.store, LocalSpec):
        leave_out = await Lane("paths", 1).run(_target_directory, location, location.store, source)
    store = open_store(location.store, policy=RetryPolicy(unreached_s=UNREACHED_S))
    progress.watch(store.in_flight)
    try:
        return await upload_tree(
            source,
            store,
            location.path,
            overwrite=overwrite,
            progress=progress,
            path_is_directory=location.source.endswith("/"),
            leave_out=leave_out,
            wanted=wanted,
            limits=limits,
        )
    finally:
        with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
            await store.aclose()


def _target_directory(location: Location, spec: LocalSpec, source: Path) -> Path:
    """Return the local directory that a walk of `source` must not enter, since the upload writes to it.

    Raises:
        UsageError: it is `source` itself.
    """
    target = Path(os.path.realpath(Path(spec.path, location.path)))
    if source.is_dir() and target == Path(os.path.realpath(source)):
        raise UsageError(f"upload {source}: it is the target itself, {printable(location.source)}; choose another")
    store = Path(os.path.realpath(spec.path))
    walked = Path(os.path.realpath(source))
    return store if store != walked and store.is_relative_to(walked) else target
