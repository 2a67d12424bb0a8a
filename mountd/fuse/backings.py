"""Files that the kernel reads by itself, as a session knows them: each has a number. Calls block, in any thread."""

import errno
import fcntl
import os

from mountd.fuse import protocol


class BackingRefusedError(OSError):
    """The kernel does not take a file."""


class _Descriptor:
    """One of its own, closed by whoever lets go of it last: a thread that is late meets no stranger's."""

    def __init__(self, descriptor: int) -> None:
        self.number = os.dup(descriptor)

    def __del__(self) -> None:
        os.close(self.number)


class Backings:
    """Those of one session, until `end`.

    Args:
        descriptor: of `/dev/fuse`; it stays the caller's.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: _Descriptor | None = _Descriptor(descriptor)

    def open(self, file: int) -> int:
        """Return the number of the file that `file` is a descriptor of, which may be closed after that.

        Raises:
            BackingRefusedError: the kernel does not take it, or the session is over.
        """
        session = self._descriptor
        if session is None:
            raise BackingRefusedError(errno.ENODEV, os.strerror(errno.ENODEV))
        asked = bytearray(protocol.BACKING_MAP.pack(file, 0))  # a buffer that can be changed, or the number is lost
        try:
            return int(fcntl.ioctl(session.number, protocol.BACKING_OPEN, asked, True))
        except OSError as error:
            raise BackingRefusedError(error.errno, error.strerror) from error

    def close(self, backing: int) -> None:
        """Have a number stand for nothing any more; what is open under it goes on. Of a session that is over: done."""
        session = self._descriptor
        if session is not None:
            fcntl.ioctl(session.number, protocol.BACKING_CLOSE, protocol.BACKING_ID.pack(backing))

    def end(self) -> None:
        """The session is over: let go of its descriptor."""
        self._descriptor = None
