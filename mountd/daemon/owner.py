"""A process whose end ends a mount: the interpreter of a script or notebook that mounted for itself.

It is watched by descriptor, not by number: no other process can be taken for it later.
"""

import os

import trio

from mountd.errors import SetupError


class Owner:
    """The process, until `close`."""

    def __init__(self, pid: int) -> None:
        """Watch the process `pid`.

        Raises:
            SetupError: it is gone already, or not of this node.
        """
        try:
            self._fd = os.pidfd_open(pid)
        except OSError as error:
            raise SetupError(f"the process {pid} that asked for a mount is not there: {error.strerror}") from None

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)

    async def wait_gone(self) -> None:
        """Return when the process has ended, however."""
        await trio.lowlevel.wait_readable(self._fd)
