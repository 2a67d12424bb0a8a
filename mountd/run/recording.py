"""Keeps a run's record true while the run goes on: the one place where a session and a journal meet."""

import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import trio

from mountd.aio.threads import Lane
from mountd.run.environment import Presented
from mountd.run.journal import Journal
from mountd.run.record import CANCELED, DataRecord, Status
from mountd.run.session import Outcome

_SEEN_EVERY_S = 2.0


class Recording:
    """What a session is watched with; see `session.Watcher`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lane = Lane("record", 1)
        self._over = False

    async def preparing(self) -> None:
        """Signals are heeded from here on, so the run can be asked to end."""
        await self._update(status="Preparing", pid=os.getpid())

    async def running(self, presented: Sequence[Presented]) -> None:
        """Inputs are ready and the command is about to start."""
        paths = {item.name: item.path for item in presented}
        record = self._journal.record
        await self._update(
            status="Running",
            started=time.time(),
            inputs=tuple(_placed(item, paths) for item in record.inputs),
            outputs=tuple(_placed(item, paths) for item in record.outputs),
        )

    async def finalizing(self) -> None:
        """The command is over, and outputs are about to be uploaded."""
        await self._update(status="Finalizing")

    async def is_canceled(self) -> bool:
        """Whether `mountd runs cancel` wants the run to end."""
        return await self._lane.run((self._journal.directory / CANCELED).exists)

    async def keep_alive(self) -> None:
        """Say every few seconds that the run is alive: nobody says when a process was killed."""
        while True:
            await trio.sleep(_SEEN_EVERY_S)
            await self._lane.run(self._journal.seen)

    def ended(self, outcome: Outcome) -> None:
        """Write how the run ended; the first call counts. Blocks."""
        if self._over:
            return
        self._over = True
        self._journal.end(status=_status(outcome), exit_code=outcome.exit_status, error=outcome.error)

    async def _update(self, **changes: Any) -> None:
        await self._lane.run(partial(self._journal.update, **changes))


def _status(outcome: Outcome) -> Status:
    if outcome.canceled:
        return "Canceled"
    return "Completed" if outcome.exit_status == 0 else "Failed"


def _placed(item: DataRecord, paths: dict[str, str]) -> DataRecord:
    return (
        msgspec.structs.replace(item, path=paths[item.name]) if item.name in paths and item.mode != "direct" else item
    )
