"""Local files into a store: parallel over files and over the parts of large ones.

- An object is published only if it holds one state of its file: a file that changes while it is read is sent again, a
  bounded number of times, and then reported.
- What cannot be read is a problem in the report and the rest goes on; what fails for all ends the run.
- Bytes in flight never exceed the limit. The walk runs ahead of the transfers, and is never held as a whole.
"""

import stat
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import trio

from mountd.aio.threads import Lane
from mountd.errors import (
    DeniedError,
    ExistsError,
    IsDirectoryError,
    MountdError,
    NotDirectoryError,
    NotFoundError,
    ReadOnlyError,
    UnavailableError,
    UsageError,
)
from mountd.stores.base import Store
from mountd.transfer.crew import run_together
from mountd.transfer.existing import ExistingKeys
from mountd.transfer.limits import TransferLimits
from mountd.transfer.local_errors import local_error, local_reason
from mountd.transfer.local_tree import Found, LeftOut, LocalFile, walk
from mountd.transfer.progress import Progress
from mountd.transfer.report import Problem, UploadReport, printable
from mountd.transfer.send import Sender
from mountd.transfer.tally import Tally

WALKED_AT_ONCE = 500
"""Names that one call in a thread collects."""
WALKED_AHEAD = 10_000
"""Files found and not yet begun, at most."""


async def upload_tree(
    source: Path,
    store: Store,
    path: str,
    *,
    overwrite: bool,
    progress: Progress,
    path_is_directory: bool = False,
    leave_out: Path | None = None,
    wanted: Callable[[str], bool] | None = None,
    limits: TransferLimits | None = None,
) -> UploadReport:
    """Upload the directory or the file `source` into the directory `path` of `store`.

    Args:
        source: a directory, whose contents land in `path`, or a file, which lands in it under its own name.
        store: where to; stays open.
        path: a directory, made by what is put into it; "" is the root. For a file, a `path` that ends in the file's own
            name is taken for the object itself.
        overwrite: replace objects that exist; without it they are skipped.
        progress: is moved on as things happen.
        path_is_directory: `path` is a directory whatever its name.
        leave_out: a local directory below `source` to pass over.
        wanted: tells of a file's path below `source` whether to upload it; of all if left out.
        limits: how much at once.

    Raises:
        NotFoundError: there is no `source`.
        NotDirectoryError: `path` is an object.
        ReadOnlyError: the store is not written to.
        MountdError: the store cannot be used.
    """
    started = trio.current_time()
    limits = limits or TransferLimits()
    if not store.capabilities.writable:
        raise ReadOnlyError(f"upload to {store.name}: this store is not written to; choose another target")
    disk = Lane("transfer-disk", limits.disk_threads)
    kind = await disk.run(_kind, source)
    tally = Tally(progress, limits.failures_in_a_row, (UnavailableError, DeniedError, NotFoundError))
    run = _Run(store, path, disk, Sender(store, disk, progress, limits, overwrite=overwrite), tally)
    if kind == stat.S_IFDIR:
        await run.check_target()
        existing = None if overwrite else await ExistingKeys.look(store, path)
        found = walk(source, leave_out=leave_out)
        if wanted is not None:
            found = (item for item in found if not isinstance(item, LocalFile) or wanted(item.relative))
        await run.send_directory(found, existing, limits.files)
    else:
        itself = not path_is_directory and path.rpartition("/")[2] == source.name
        if not itself:
            await run.check_target()
        await run.send_single(source, path if itself else run.key(source.name), overwrite=overwrite)
    return UploadReport(
        files=tally.files,
        size=tally.size,
        moved=tally.moved,
        skipped=tally.skipped,
        left_out=run.left_out,
        seconds=trio.current_time() - started,
        problem_count=tally.problems.count,
        problems=tuple(tally.problems.kept),
    )


def _kind(source: Path) -> int:
    try:
        kind = stat.S_IFMT(source.stat().st_mode)
    except OSError as error:
        raise local_error(error, "upload", source) from None
    if kind not in {stat.S_IFDIR, stat.S_IFREG}:
        raise UsageError(f"upload {source}: it is neither a directory nor a regular file")
    return kind


class _Run:
    """One upload: the tasks that walk and send."""

    def __init__(self, store: Store, path: str, disk: Lane, sender: Sender, tally: Tally) -> None:
        self.left_out = 0
        self._store = store
        self._path = path
        self._disk = disk
        self._sender = sender
        self._tally = tally

    def key(self, relative: str) -> str:
        """Return the key of the file `relative`."""
        return f"{self._path}/{relative}" if self._path else relative

    async def check_target(self) -> None:
        """See that the target is no object: what is put below one cannot be reached through a path.

        Raises:
            NotDirectoryError: it is one.
        """
        if not self._path:
            return
        try:
            await self._store.stat(self._path)
        except (NotFoundError, IsDirectoryError, DeniedError):  # a credential may well be for writing only
            return
        raise NotDirectoryError(
            f"upload to {self._store.name}/{printable(self._path)}: an object is there; name a directory for the target"
        )

    async def send_single(self, source: Path, key: str, *, overwrite: bool) -> None:
        """Send one file; its failure is the run's."""
        self._tally.progress.listed = True
        try:
            if not overwrite and await ExistingKeys(self._store, None).holds(key):
                self._tally.skip(source.name)
                return
            size = (await self._disk.run(source.stat)).st_size
            self._tally.progress.found(size)
            self._tally.finish(source.name, await self._sender.send(str(source), size, key))
        except ExistsError:
            self._tally.skip(source.name)
        except OSError as error:
            raise local_error(error, "read", source) from error

    async def send_directory(self, found: Iterator[Found], existing: ExistingKeys | None, workers: int) -> None:
        """Send all that `found` yields.

        Args:
            found: the walk.
            existing: what to leave alone; None overwrites.
            workers: files in flight.
        """
        send, receive = trio.open_memory_channel[LocalFile](WALKED_AHEAD)
        crew = [partial(self._work, receive.clone(), existing) for _ in range(workers)]
        receive.close()
        await run_together([partial(self._walk, found, send), *crew])

    async def _walk(self, found: Iterator[Found], send: trio.MemorySendChannel[LocalFile]) -> None:
        async with send:
            while batch := await self._disk.run(_take, found):
                for item in batch:
                    match item:
                        case LocalFile():
                            self._tally.progress.found(item.size)
                            await send.send(item)
                        case Problem():
                            self._tally.refuse(item.name, item.reason)
                        case LeftOut():
                            self.left_out += 1
            self._tally.progress.listed = True

    async def _work(self, receive: trio.MemoryReceiveChannel[LocalFile], existing: ExistingKeys | None) -> None:
        async with receive:
            async for file in receive:
                key = self.key(file.relative)
                try:
                    if existing is not None and await existing.holds(key):
                        self._tally.skip(file.relative)
                        self._tally.progress.forgotten(file.size)
                        continue
                    self._tally.finish(file.relative, await self._sender.send(file.path, file.size, key))
                except ExistsError:
                    self._tally.skip(file.relative)
                    self._tally.progress.forgotten(file.size)
                except MountdError as error:
                    self._tally.fail(file.path, error)
                except OSError as error:
                    self._tally.refuse(file.path, local_reason(error))


def _take(found: Iterator[Found]) -> list[Found]:
    return list(islice(found, WALKED_AT_ONCE))
