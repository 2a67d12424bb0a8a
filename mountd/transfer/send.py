"""One local file into one object, whole and of one state of the file."""

from collections.abc import Awaitable, Callable, Sequence

import trio

from mountd.aio.threads import Lane
from mountd.errors import ChangedError, CorruptError
from mountd.stores.base import ObjectInfo, Store, Upload
from mountd.transfer.crew import run_together
from mountd.transfer.in_flight import BytesInFlight
from mountd.transfer.limits import TransferLimits
from mountd.transfer.progress import Progress
from mountd.transfer.report import printable
from mountd.transfer.source_file import SourceFile, read_small
from mountd.units import ByteRange

ABORT_WITHIN_S = 1.0
"""A cancelled upload tidies up for no longer; what a store keeps of it then goes away by the store's own rules."""


class Sender:
    """Sends the files of one run.

    Args:
        store: where to.
        disk: the lane for all local calls.
        progress: is moved on by bytes.
        limits: how much at once.
        overwrite: whether objects that exist are replaced.
    """

    def __init__(
        self, store: Store, disk: Lane, progress: Progress, limits: TransferLimits, *, overwrite: bool
    ) -> None:
        self._store = store
        self._disk = disk
        self._progress = progress
        self._limits = limits
        self._overwrite = overwrite
        self._in_flight = BytesInFlight(limits)
        self._large = trio.CapacityLimiter(limits.large_files)

    async def send(self, path: str, size: int, key: str) -> int:
        """Send the file `path`, expected to have `size` bytes, and return the size it had.

        Raises:
            ExistsError: the key is taken, and overwriting is not asked for.
            ChangedError: the file does not hold still.
            CorruptError: the store kept another size than was sent.
            MountdError: the store does not do its part.
            OSError: the file cannot be read.
        """
        for _ in range(1 + self._limits.restarts):
            try:
                sent: int | None = None
                if size <= self._limits.range_bytes:
                    sent = await self._send_small(path, size, key)
                if sent is None:
                    async with self._large:
                        sent = await self._send_large(path, key)
            except ChangedError:
                self._progress.restarted += 1
            else:
                self._progress.resized(size, sent)
                return sent
        raise ChangedError(
            f"it changed {1 + self._limits.restarts} times while it was being uploaded; try again when it is at rest"
        )

    async def _send_small(self, path: str, size: int, key: str) -> int | None:
        """Send the file in one request; None if it has grown too large for that."""
        while size <= self._limits.range_bytes:
            async with self._in_flight.carry(size):
                data = await self._disk.run(read_small, path, size)
                if isinstance(data, memoryview):
                    info = await self._store.put(key, data, overwrite=self._overwrite)
                    self._progress.received(data.nbytes)
                    _check(info, data.nbytes)
                    self._progress.kept(data.nbytes)
                    return data.nbytes
            size = data  # it has grown since the walk
        return None

    async def _send_large(self, path: str, key: str) -> int:
        source = await self._disk.run(SourceFile, path)
        kept = 0
        try:
            size = source.size
            upload = await self._store.begin_upload(key, size, overwrite=self._overwrite)
            offsets = iter(range(0, size, upload.part_bytes))

            async def work() -> None:
                nonlocal kept
                for start in offsets:
                    part = ByteRange(start, min(start + upload.part_bytes, size))
                    async with self._in_flight.carry(part.length):
                        data = await self._disk.run(source.read, part)
                        await upload.part(start, data)
                    kept += part.length
                    self._progress.received(part.length)
                    self._progress.kept(part.length)

            works = [work] * min(-(-size // upload.part_bytes), self._limits.ranges_per_file)
            await self._publish(upload, works, source)
            kept = 0  # nothing to take back
        finally:
            source.close()
            self._progress.taken_back(kept)
        return size

    async def _publish(
        self, upload: Upload, works: Sequence[Callable[[], Awaitable[None]]], source: SourceFile
    ) -> None:
        """Run `works`, which send the parts, and commit them if the file has held still."""
        try:
            await run_together(works)
            await self._disk.run(source.check_unchanged)
            _check(await upload.commit(source.size), source.size)
        except BaseException:
            with trio.move_on_after(ABORT_WITHIN_S, shield=True):
                await upload.abort()
            raise


def _check(info: ObjectInfo, size: int) -> None:
    """See that the store has what was sent."""
    if info.size != size or not info.etag:
        raise CorruptError(f"{printable(info.key)}: the store has {info.size} bytes after {size} were sent")
