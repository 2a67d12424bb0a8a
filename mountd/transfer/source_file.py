"""A local file that is read for an upload, and whether it held still meanwhile. Blocking calls only.

A file counts as changed if its size, modification or change time moved, or if another file took its name, between the
first and the last look at it. What is sent is then of no single state of the file and must not be published. Two kinds
of writers cannot be seen (`stores.local_version`): those through a shared map, and one call that takes longer than a
tick, 20 ms.
"""

import os
import stat

from mountd.errors import ChangedError
from mountd.stores import local_version
from mountd.transfer.descriptors import Descriptors
from mountd.transfer.report import printable
from mountd.units import ByteRange

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a pipe that took the name must not hang the open


class SourceFile:
    """An open file.

    Args:
        path: the file; a symbolic link is followed.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        descriptor = os.open(path, _OPEN)
        self._descriptor = descriptor
        self._guard = Descriptors(descriptor)
        try:
            # A call that is still writing has set the stamps already: what was changed within a tick is waited for.
            self._first, _ = local_version.settle(lambda: os.fstat(descriptor))
            if not stat.S_ISREG(self._first.st_mode):
                raise OSError(0, "it is not a regular file")
        except BaseException:
            self._guard.close()
            raise

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""
        return self._first.st_size

    def read(self, wanted: ByteRange) -> memoryview:
        """Return exactly the bytes `wanted`.

        Raises:
            ChangedError: the file has become shorter.
            OSError: the disk fails.
        """
        data = bytearray(wanted.length)
        view = memoryview(data)
        filled = 0
        with self._guard:
            while filled < wanted.length:
                count = os.preadv(self._descriptor, [view[filled:]], wanted.start + filled)
                if count == 0:
                    raise self._changed()
                filled += count
        return view

    def check_unchanged(self) -> None:
        """See that the file is as it was when it was opened.

        Raises:
            ChangedError: it is not.
            OSError: the disk fails.
        """
        with self._guard:
            now = os.fstat(self._descriptor)
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            raise self._changed() from None
        if _state(now) != _state(self._first) or not os.path.samestat(now, named):
            raise self._changed()

    def close(self) -> None:
        """Let go of the file."""
        self._guard.close()

    def _changed(self) -> ChangedError:
        return ChangedError(f"{printable(self._path)}: it changed while it was being read")


def read_small(path: str, at_most: int) -> memoryview | int:
    """Return all bytes of the file, or its size if that is more than `at_most`; errors as in `SourceFile`."""
    file = SourceFile(path)
    try:
        if file.size > at_most:
            return file.size
        data = file.read(ByteRange(0, file.size))
        file.check_unchanged()
        return data
    finally:
        file.close()


def _state(found: os.stat_result) -> tuple[int, int, int]:
    # Not the inode's change time: a new hard link or a chmod changes no byte.
    return found.st_size, found.st_mtime_ns, found.st_ino
