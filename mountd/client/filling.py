"""Waiting until a mount has brought to disk what it was asked for. Blocks."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from mountd.client import api
from mountd.errors import NoRoomError, UnavailableError
from mountd.observe.statistics import FillStatus, MountStatistics

_LOOK_EVERY_S = 0.3
_ALIVE = {"ready", "restarting", "not answering", "starting"}


def wait_filled(mountpoint: str | Path, tell: Callable[[FillStatus], None], *, ticket: str = "") -> FillStatus:
    """Return when everything asked for is on disk; `tell` hears now and then how far it is.

    Args:
        mountpoint: of the mount.
        tell: is called with what is known.
        ticket: what `api.prefetch` returned; without it the wait is for all that the mount shows.

    Raises:
        NoRoomError: it does not fit, or there is no disk cache.
        UnavailableError: not all of it could be brought, or the mount is gone.
        NotFoundError: nothing of this user's is mounted there.
    """
    pause = threading.Event()
    while True:
        (record,) = api.status(mountpoint)
        if record.state not in _ALIVE:
            raise UnavailableError(f"{mountpoint}: the mount is {record.state}; `mountd status` says more")
        if record.statistics:
            found = _find(msgspec.convert(record.statistics, MountStatistics), ticket)
            if found is None:
                raise UnavailableError(
                    f"{mountpoint}: the mount was restarted and has forgotten what to bring; ask again"
                )
            tell(found)
            match found.state:
                case "complete":
                    return found
                case "streaming":
                    # With something in the cache, a ceiling in percent does not follow what the disk has free.
                    raise NoRoomError(
                        f"{mountpoint}: not on disk: {found.note}; "
                        "raise --cache-size, or free disk and run `mountd cache clear`"
                    )
                case "failed":
                    raise UnavailableError(f"{mountpoint}: not all of it is on disk: {found.note}; try again")
        pause.wait(_LOOK_EVERY_S)


def _find(statistics: MountStatistics, ticket: str) -> FillStatus | None:
    if not ticket:
        return statistics.fill
    return next((one for one in statistics.prefetches if one.ticket == ticket), None)
