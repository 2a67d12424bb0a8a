"""Waiting until a mount has brought to disk what it was asked for. Blocks."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from mountd.client import api
from mountd.errors import NoRoomError, UnavailableError
from mountd.observe.statistics import MountStatistics

_LOOK_EVERY_S = 0.3
_OVER = {"complete", "streaming", "failed"}


def wait_filled(mountpoint: str | Path, tell: Callable[[MountStatistics], None]) -> MountStatistics:
    """Return when everything asked for is on disk; `tell` hears now and then how far it is.

    Raises:
        NoRoomError: it does not fit, or there is no disk cache.
        UnavailableError: not all of it could be brought, or the mount is gone.
        NotFoundError: nothing of this user's is mounted there.
    """
    pause = threading.Event()
    while True:
        (record,) = api.status(mountpoint)
        if record.state not in {"ready", "restarting", "not answering", "starting"}:
            raise UnavailableError(f"{mountpoint}: the mount is {record.state}; `mountd status` says more")
        if record.statistics:
            statistics = msgspec.convert(record.statistics, MountStatistics)
            tell(statistics)
            if statistics.fill_state == "complete":
                return statistics
            if statistics.fill_state == "streaming":
                raise NoRoomError(f"{mountpoint}: not on disk: {statistics.fill_note}; raise --cache-size or free disk")
            if statistics.fill_state == "failed":
                raise UnavailableError(f"{mountpoint}: not all of it is on disk: {statistics.fill_note}; try again")
            if not statistics.fill_state:
                raise NoRoomError(f"{mountpoint}: not on disk: {record.details.get('mode', 'it has no disk cache')}")
        pause.wait(_LOOK_EVERY_S)
