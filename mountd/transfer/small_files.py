"""Small files written in batches: a call into a thread costs more than writing 100 kB, so one call takes several files.

A batch is whatever has come in since the last one. One writer is busy while that keeps up; where the disk is slow to
sync, the queue grows and more writers take part, so that its syncs run side by side.
"""

from collections import deque
from dataclasses import dataclass, field

import trio

from mountd.aio.threads import Lane
from mountd.errors import MountdError
from mountd.transfer.destination import Destination, Wanted
from mountd.transfer.local_errors import local_error

BATCH = 16
"""Files in one call at most: one that is cancelled is over soon."""


@dataclass(slots=True, eq=False)
class _Item:
    wanted: Wanted
    data: memoryview
    done: trio.Event = field(default_factory=trio.Event)
    error: MountdError | None = None


class SmallFiles:
    """Writes files to `destination`; `work` runs in several tasks for as long as there are files to come.

    Args:
        destination: where to.
        disk: the lane to write in.
    """

    def __init__(self, destination: Destination, disk: Lane) -> None:
        self._destination = destination
        self._disk = disk
        self._queue: deque[_Item] = deque()
        self._idle = trio.lowlevel.ParkingLot()
        self._busy = 0
        self._closed = False

    async def write(self, wanted: Wanted, data: memoryview) -> None:
        """Write a file; returns when it is there.

        Raises:
            BusyError: another process writes it.
            ExistsError: it appeared meanwhile, and overwriting is not asked for.
            MountdError: the file system refuses.
        """
        item = _Item(wanted, data)
        self._queue.append(item)
        if len(self._idle) and len(self._queue) > BATCH * self._busy:
            self._busy += 1  # the task that wakes up
            self._idle.unpark()
        await item.done.wait()
        if item.error is not None:
            raise item.error

    async def work(self) -> None:
        """Write what comes in, until `close`."""
        while True:
            if self._queue and self._busy == 0:
                self._busy += 1  # what came before any task was here to be woken
            else:
                await self._idle.park()
            if self._closed:
                return
            try:
                await self._write_queue()
            finally:
                self._busy -= 1

    def close(self) -> None:
        """No more files will come: end the tasks."""
        self._closed = True
        self._idle.unpark_all()

    async def _write_queue(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            await self._disk.run(self._write_all, batch)
            for item in batch:
                item.done.set()

    def _write_all(self, batch: list[_Item]) -> None:
        for item in batch:
            try:
                self._destination.write(item.wanted, item.data)
            except MountdError as error:
                item.error = error
            except OSError as error:
                item.error = local_error(error, "write", self._destination.paths(item.wanted.relative).final)
