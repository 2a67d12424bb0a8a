"""One object into one file, whole and of one version.

- Each range carries `If-Match`. A change under way starts the file anew with the version that is there then, a bounded
  number of times; what was fetched of the old version is thrown away.
- Bytes in flight are charged to the run's budget, first come, first served: the files of a listing finish about in its
  order, and large ones use every connection while there is nothing before them.
- A cancelled fetch leaves at once; threads it leaves behind can do no harm (`transfer.descriptors`, `transfer.part`).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from mountd.aio.threads import Lane
from mountd.errors import BusyError, ChangedError, CorruptError, ExistsError, NotFoundError
from mountd.stores.base import ObjectInfo, Store
from mountd.transfer.crew import run_together
from mountd.transfer.destination import Destination, Wanted
from mountd.transfer.in_flight import BytesInFlight
from mountd.transfer.limits import TransferLimits
from mountd.transfer.local_errors import local_error
from mountd.transfer.part import PartFile
from mountd.transfer.progress import Progress
from mountd.transfer.report import printable
from mountd.transfer.small_files import SmallFiles
from mountd.units import ByteRange

T = TypeVar("T")


class Fetcher:
    """Fetches the objects of one run.

    Args:
        store: where from.
        destination: where to.
        disk: the lane for all local calls.
        progress: is moved on by bytes.
        limits: how much at once.
    """

    def __init__(
        self, store: Store, destination: Destination, disk: Lane, progress: Progress, limits: TransferLimits
    ) -> None:
        self._store = store
        self._destination = destination
        self._disk = disk
        self._progress = progress
        self._limits = limits
        self._in_flight = BytesInFlight(limits)
        self._small_files = SmallFiles(destination, disk)
        self._large = trio.CapacityLimiter(limits.large_files)

    async def serve(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work`, which calls `fetch`, together with the tasks that write files.

        Raises:
            MountdError: what `work` raised.
        """

        async def all_of_it() -> None:
            try:
                await work()
            finally:
                self._small_files.close()

        await run_together([all_of_it, *[self._small_files.work] * self._limits.disk_threads])

    async def fetch(self, wanted: Wanted) -> int:
        """Fetch the version `wanted.info`, or whichever takes its place meanwhile; return the size in bytes.

        Only inside `serve`.

        Raises:
            ExistsError: the file appeared meanwhile, and overwriting is not asked for.
            NotFoundError: the object is gone.
            ChangedError: it never comes to rest.
            MountdError: the store or the disk does not do its part.
        """
        stuck: ChangedError | None = None
        for _ in range(1 + self._limits.restarts):
            try:
                if wanted.info.size <= self._limits.range_bytes:
                    await self._fetch_small(wanted)
                else:
                    async with self._large:
                        await self._fetch_large(wanted)
            except ChangedError as error:
                self._progress.restarted += 1
                info = await self._store.stat(wanted.info.key)
                stuck = error if info.etag == wanted.info.etag else None
                self._progress.resized(wanted.info.size, info.size)
                wanted = Wanted(info, wanted.relative)
            else:
                return wanted.info.size
        if stuck is not None:
            raise stuck.with_traceback(None)  # there is no other version to wait for: that of a dataset is gone
        raise ChangedError(
            f"{printable(wanted.relative)}: it was replaced {1 + self._limits.restarts} times while it was being read; "
            "try again when it is at rest"
        )

    async def _fetch_small(self, wanted: Wanted) -> None:
        size = wanted.info.size
        async with self._in_flight.carry(size):
            data = await self._read(wanted.info, ByteRange(0, size)) if size else memoryview(b"")
            await _insisting(lambda: self._small_files.write(wanted, data))
        self._progress.kept(size)

    async def _fetch_large(self, wanted: Wanted) -> None:
        info = wanted.info
        paths = self._destination.paths(wanted.relative)
        with trio.CancelScope(shield=True):  # a part file opened for nobody would keep its lock; only local calls
            part = await self._write(
                paths.part, partial(PartFile, paths, self._store.name, info, self._limits.range_bytes)
            )
        kept = part.finished_bytes
        self._progress.kept(kept)
        try:
            missing = part.missing()
            ranges = iter(missing)

            async def work() -> None:
                nonlocal kept
                for piece in ranges:
                    async with self._in_flight.carry(piece.length):
                        data = await self._read(info, piece)
                        await self._write(paths.part, partial(part.write, piece.start, data))
                    kept += piece.length
                    self._progress.kept(piece.length)

            await run_together([work] * min(len(missing), self._limits.ranges_per_file))
            await self._write(paths.final, partial(self._destination.publish, wanted, part))
            kept = 0  # nothing to take back
        except (ChangedError, NotFoundError, ExistsError):
            # Nobody will want this version any more; a new one must find no part file of it (`transfer.part`).
            await self._write(paths.part, paths.discard)
            raise
        finally:
            part.close()
            self._progress.taken_back(kept)

    async def _read(self, info: ObjectInfo, wanted: ByteRange) -> memoryview:
        """Return exactly the bytes `wanted` of the version `info`."""
        chunk = await self._store.read(info.key, wanted.start, wanted.length, if_match=info.etag)
        came = chunk.data.nbytes
        self._progress.received(came)
        if chunk.etag != info.etag:
            raise ChangedError(f"{printable(info.key)}: another version came than the one asked for")
        if came != wanted.length or chunk.size != info.size:
            raise CorruptError(
                f"{printable(info.key)}: {came} bytes of {chunk.size} came at {wanted.start}, "
                f"not {wanted.length} of {info.size}"
            )
        return chunk.data

    async def _write(self, path: Path, call: Callable[[], T]) -> T:
        """Return the result of a call that writes to `path`, in a thread."""
        try:
            return await _insisting(lambda: self._disk.run(call))
        except OSError as error:
            raise local_error(error, "write", path) from error


async def _insisting(attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what `attempt` does; tries again while the file is busy: a run that just ended has threads that let go."""
    for pause_s in (0.05, 0.1, 0.2, 0.4, 0.8):
        try:
            return await attempt()
        except BusyError:
            await trio.sleep(pause_s)
    return await attempt()
