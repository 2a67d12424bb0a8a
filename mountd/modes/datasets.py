"""The listing of a dataset: read where it is pinned, taken and pinned where it is not, taken anew where it is not kept.

However many need it first at the same moment, on one node or several, one listing is pinned and all use that one: it
is written under its name only if nothing has that name yet. A lock saves the others of one node the work.
"""

import errno
import fcntl
import math
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import trio

from mountd.aio.retry import UNREACHED_S, RetryPolicy
from mountd.aio.threads import Lane
from mountd.catalog.atomic_files import DIRECTORY_MODE, file_errors, write_file
from mountd.catalog.dataset_yaml import RegisteredDataset
from mountd.catalog.model import DatasetSpec, Location
from mountd.catalog.packed_listing import PackedListing, read_listing
from mountd.catalog.resolve import dataset_location
from mountd.catalog.workspace import Workspace
from mountd.errors import DeadlineError
from mountd.stores.dataset_listing import list_dataset
from mountd.stores.guarded import GuardedStore
from mountd.stores.open import open_dataset, open_store

LOOK_EVERY_S = 0.1
CLOSE_WITHIN_S = 2.0


class OpenedPlace(NamedTuple):
    """A store that can be used, and the files of it where it shows a dataset."""

    store: GuardedStore
    listing: PackedListing | None


async def open_place(location: Location, policy: RetryPolicy, *, within_s: float = math.inf) -> OpenedPlace:
    """Return the store of `location`; a dataset is listed first if it has to be.

    Args:
        location: a store, or a dataset.
        policy: deadline and pauses of each request.
        within_s: how long taking a listing may last.

    Raises:
        NotFoundError: a dataset's source is not there.
        DeadlineError: the listing takes longer; says how far it was and what to do.
        MountdError: a dataset's listing cannot be read or taken, or a credential is malformed.
    """
    spec = location.store
    if not isinstance(spec, DatasetSpec):
        return OpenedPlace(open_store(spec, policy=policy), None)
    found = 0

    def count(files: int) -> None:
        nonlocal found
        found = files

    with trio.move_on_after(within_s):
        listing = await listing_of(spec, policy=policy, progress=count)
        return OpenedPlace(open_dataset(spec, listing, policy=policy), listing)
    raise DeadlineError(
        f"{spec.name}: {found} files were listed within {within_s:g} s, and there are more; pin them beforehand with "
        + ("`mountd dataset create`" if spec.listing is None else f"`mountd dataset show {spec.name} --files`")
    )


async def listing_of(
    spec: DatasetSpec, *, policy: RetryPolicy | None = None, progress: Callable[[int], None] | None = None
) -> PackedListing:
    """Return the files of a dataset: as they are pinned, or as they are now, which pins them if the dataset is kept.

    Args:
        spec: the dataset.
        policy: deadline and pauses of each request.
        progress: is told how many files were found so far.

    Raises:
        NotFoundError: a source is not there.
        CorruptError: the pinned listing is damaged.
        MountdError: a store cannot be asked, or the listing cannot be kept.
    """
    if spec.listing is None:
        return PackedListing(await _list(spec, policy, progress), spec.name)
    path = Path(spec.listing)
    lane = Lane("pinned listing", 2)
    if spec.sources and not await lane.run(path.exists):
        async with _locked(path.with_suffix(".lock"), lane):
            if not await lane.run(path.exists):
                await lane.run(_keep, path, await _list(spec, policy, progress))
    return await lane.run(read_listing, path)


async def is_outdated(
    registered: RegisteredDataset, *, workspace: Workspace, environ: Mapping[str, str], cwd: Path
) -> bool:
    """Return whether a dataset is pinned to other files or versions than those that its paths name now.

    Takes a listing and keeps nothing. Arguments as for `catalog.resolve.dataset_location`.

    Raises:
        NotFoundError: a path of it is not there any more.
        MountdError: a store cannot be asked, or the pinned listing is damaged.
    """
    lane = Lane("pinned listing", 1)
    if not await lane.run(registered.listing.exists):
        return False
    pinned = await lane.run(read_listing, registered.listing)
    now = dataset_location(registered.definition, workspace=workspace, environ=environ, cwd=cwd).store
    assert isinstance(now, DatasetSpec), "the location of a dataset is one"
    return (await listing_of(now)).digest != pinned.digest


async def _list(spec: DatasetSpec, policy: RetryPolicy | None, progress: Callable[[int], None] | None) -> bytes:
    asked_first = replace(policy or RetryPolicy(), unreached_s=UNREACHED_S)
    stores = [open_store(member, policy=asked_first) for member in spec.stores]
    try:
        return await list_dataset(spec, stores, progress=progress)
    finally:
        with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
            for store in stores:
                await store.aclose()


def _keep(path: Path, listing: bytes) -> None:
    with file_errors(path), suppress(FileExistsError):  # another node was faster: its listing counts
        write_file(path, listing, overwrite=False)


@asynccontextmanager
async def _locked(path: Path, lane: Lane) -> AsyncIterator[None]:
    """Hold the lock `path`, whose file goes away again."""
    with trio.CancelScope(shield=True):  # what is opened must become known, to be closed
        descriptor = await lane.run(_open_lock, path)
    try:
        while True:
            with trio.CancelScope(shield=True):  # else a thread could lock what has that number by then
                if await lane.run(_try_lock, descriptor):
                    break
            await trio.sleep(LOOK_EVERY_S)  # the lock of another process sets no event
        try:
            yield
        finally:
            _remove(path)
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    with file_errors(path):
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        # a file system without locks: several may list, and one listing counts all the same
    return True


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
