"""The journal: a file that is only ever appended to, one frame for each step, each with a checksum.

- A step is one `write`, made under the lock of the cache directory (`lock.DirectoryLock`): it is in the journal whole
  or not at all. What a killed writer left of a frame is cut off by the next one.
- No file is mapped: whatever happens to it, reading it is an error or a wrong checksum, never a signal.
- Nothing is synced but a new journal. After a power failure the end may be missing, or be nonsense: everything from the
  first bad frame on is given up, and files and index are compared again.
- A journal with more than one name is somebody's file as well: it is given up as it is, and nothing is written to it.
- Other versions of mountd: an older journal is given up, a newer one is refused.
"""

import errno
import os
import stat
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from mountd.cache.disk.changes import AnyChange
from mountd.cache.disk.layout import MAGIC, remove
from mountd.errors import SetupError

VERSION = 1
_HEADER = MAGIC + VERSION.to_bytes(4, "little")
_FRAME_HEAD = 8  # length and CRC-32
LONGEST_FRAME = 64 << 20

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[AnyChange]).decode


class Journal:
    """One process's view of the journal at `path`; `position` is how far it has been read.

    Raises:
        OSError: from every call, when the disk is in trouble.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._inode = -1
        self.position = 0

    def open(self) -> bool:
        """Open the journal from its start; False: there is none that can be read.

        Raises:
            SetupError: it is of a newer mountd.
        """
        self.close()
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link; `replace` puts a journal in its place
                return False
            raise
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        self._inode = found.st_ino
        self.position = len(_HEADER)
        header = os.pread(self._descriptor, len(_HEADER), 0)
        if header == _HEADER:
            return True
        version = int.from_bytes(header[len(MAGIC) :], "little")
        if header.startswith(MAGIC) and len(header) == len(_HEADER) and version > VERSION:
            raise SetupError(f"cache directory {self._path.parent}: is of a newer mountd; give another --cache-dir")
        return False

    def is_current(self) -> bool:
        """Whether the journal in the directory is the one that is open, with no other name and all that was read."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return False
        is_ours = self._descriptor >= 0 and found.st_ino == self._inode and found.st_nlink == 1
        return is_ours and found.st_size >= self.position

    def read_new(self) -> Iterable[list[AnyChange]]:
        """Yield what was appended since the last call, step by step; stops before a frame that is not whole."""
        while True:
            head = os.pread(self._descriptor, _FRAME_HEAD, self.position)
            length = int.from_bytes(head[:4], "little")
            if len(head) < _FRAME_HEAD or not 0 < length <= LONGEST_FRAME:
                return
            payload = os.pread(self._descriptor, length, self.position + _FRAME_HEAD)
            if len(payload) < length or zlib.crc32(payload) != int.from_bytes(head[4:], "little"):
                return
            try:
                changes = _decode(payload)
            except msgspec.MsgspecError:
                return
            self.position += _FRAME_HEAD + length
            yield changes

    def cut(self) -> bool:
        """Take away what lies behind `position`, which `read_new` could not read; True: steps may be lost with it.

        The lock is held. What a killed writer left cannot be told from damage for certain.
        """
        if os.fstat(self._descriptor).st_size <= self.position:
            return False
        os.ftruncate(self._descriptor, self.position)
        return True

    def append(self, changes: Sequence[AnyChange]) -> None:
        """Add one step; the lock is held, and everything before it was read."""
        frame = _frame(changes)
        try:
            written = os.pwrite(self._descriptor, frame, self.position)
            if written != len(frame):
                os.pwrite(self._descriptor, frame[written:], self.position + written)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.position)
            raise
        self.position += len(frame)

    def replace(self, steps: Iterable[Sequence[AnyChange]]) -> None:
        """Begin anew with `steps`; the lock is held. Everybody else notices by `is_current`."""
        path = self._path.with_name("journal.new")
        remove(str(path))  # of one who was killed, or not even ours
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            position = 0
            for part in (_HEADER, *map(_frame, steps)):
                view = memoryview(part)
                while view:
                    written = os.pwrite(descriptor, view, position)
                    position += written
                    view = view[written:]
            os.fdatasync(descriptor)
            path.rename(self._path)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        if self._descriptor >= 0:
            with suppress(OSError):
                if os.fstat(self._descriptor).st_nlink == 0:
                    os.ftruncate(self._descriptor, 0)  # others have it open for a while: its room is free at once
        self.close()
        self._descriptor = descriptor
        self._inode = os.fstat(descriptor).st_ino
        self.position = position

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _frame(changes: Sequence[AnyChange]) -> bytes:
    payload = _encode(list(changes))
    return len(payload).to_bytes(4, "little") + zlib.crc32(payload).to_bytes(4, "little") + payload
