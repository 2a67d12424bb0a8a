"""The worker's last resort: a thread that does not depend on the event loop.

When the supervisor is gone the loop unmounts and ends the process. If it does not (a blocked loop cannot), this thread
detaches the mount and ends the process, so that no mount outlives its supervisor.
"""

import os
import select
import socket
import threading
from contextlib import suppress

from mountd.errors import MountdError
from mountd.fuse import mount_table
from mountd.fuse.mount_table import MountEntry

_PATIENCE_S = 15.0
"""Longer than everything the loop allows itself for an orderly end."""
EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits.h: the loop did not end the process by itself."""


class WorkerGuard:
    """Watches the socket to the supervisor from a thread of its own."""

    def __init__(self, control: socket.socket, *, patience_s: float = _PATIENCE_S) -> None:
        """`control` is the socket to the supervisor; nothing is ever read from it here."""
        self._control = control.dup()
        self._patience_s = patience_s
        self._mount: MountEntry | None = None
        threading.Thread(target=self._watch, name="mountd-guard", daemon=True).start()

    def watch_over(self, mountpoint: str) -> None:
        """There is a mount now; blocks for the time it takes to read the mount table."""
        self._mount = mount_table.mount_at(mountpoint)

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLRDHUP)  # the hang-up only: orders are the loop's business
        poll.poll()
        threading.Event().wait(self._patience_s)
        if self._mount is not None and mount_table.is_on_top(self._mount):
            with suppress(MountdError):
                mount_table.unmount(self._mount.mountpoint, lazy=True)
        os._exit(EXIT_STATUS)
