"""The only place where errors become errnos and attributes become the kernel's."""

import errno
import stat
import struct
from typing import NamedTuple

import pyfuse3

from mountd.errors import MountdError
from mountd.fuse import protocol
from mountd.vfs.attributes import Attributes

FOREVER_S = 86400.0
"""For attributes: those of an inode never change, names expire through their entry."""
DIRECTORY_BLOCK = 1 << 20
"""st_blksize of directories: the C library reads entries with a buffer of this size, 6,500 a call instead of 25."""
FILE_BLOCK = 4096
"""st_blksize of files: Python's buffered files read in units of it, and a random reader pays for every byte."""


_WHOLE = (1 << 64) - 1
_ENTRY = struct.Struct(protocol.ENTRY_OUT.format + protocol.ATTR.format[1:])
_LISTED = struct.Struct(_ENTRY.format + protocol.DIRENT.format[1:])
_SECOND_NS = 1_000_000_000
_FOREVER = int(FOREVER_S)
_FILE, _DIRECTORY = stat.S_IFREG >> 12, stat.S_IFDIR >> 12
_PADDING = [bytes(-length % 8) for length in range(8)]


class Ownership(NamedTuple):
    """What everything in a mount has in common."""

    uid: int
    gid: int
    file_mode: int
    """Permissions."""
    dir_mode: int
    """Permissions."""


class AttributePacker:
    """Packs attributes as the protocol has them."""

    def __init__(self, ownership: Ownership) -> None:
        uid, gid, file_mode, dir_mode = ownership
        # mode, nlink, uid, gid, rdev, blksize, flags
        self._of_file = (stat.S_IFREG | file_mode, 1, uid, gid, 0, FILE_BLOCK, 0)
        self._of_directory = (stat.S_IFDIR | dir_mode, 2, uid, gid, 0, DIRECTORY_BLOCK, 0)
        self._last_valid = (0.0, 0, 0)

    def attributes(self, attributes: Attributes) -> bytes:
        """Return ATTR_OUT and ATTR."""
        return protocol.ATTR_OUT.pack(_FOREVER, 0) + protocol.ATTR.pack(*self._attr(attributes))

    def entry(self, attributes: Attributes, valid_s: float) -> bytes:
        """Return ENTRY_OUT and ATTR; the name is good for `valid_s` seconds."""
        seconds, nanoseconds = _split(valid_s)
        return _ENTRY.pack(attributes.ino, 0, seconds, _FOREVER, nanoseconds, 0, *self._attr(attributes))

    def absent(self, valid_s: float) -> bytes:
        """Return a negative entry, which the kernel keeps for `valid_s` seconds."""
        seconds, nanoseconds = _split(valid_s)
        return protocol.ENTRY_OUT.pack(0, 0, seconds, 0, nanoseconds, 0) + bytes(protocol.ATTR.size)

    def listed(self, name: bytes, attributes: Attributes, valid_s: float, next_offset: int) -> bytes:
        """Return an entry of READDIRPLUS."""
        if valid_s != self._last_valid[0]:  # that of all entries of one page is the same
            self._last_valid = (valid_s, *_split(valid_s))
        _, seconds, nanoseconds = self._last_valid
        ino, length, kind = attributes[0], len(name), _DIRECTORY if attributes[1] else _FILE
        head = _LISTED.pack(
            *(ino, 0, seconds, _FOREVER, nanoseconds, 0), *self._attr(attributes), ino, next_offset, length, kind
        )
        return head + name + _PADDING[length & 7]

    def _attr(self, attributes: Attributes) -> tuple[int, ...]:
        ino, is_directory, size, mtime_ns = attributes
        seconds, nanoseconds = divmod(mtime_ns, _SECOND_NS)
        seconds &= _WHOLE  # before 1970 the kernel reads it as a negative number
        times = (seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds)
        if is_directory:
            return (ino, 0, 0, *times, *self._of_directory)
        return (ino, size, (size + 511) // 512, *times, *self._of_file)


def _split(valid_s: float) -> tuple[int, int]:
    """Return whole seconds and nanoseconds."""
    if valid_s >= FOREVER_S:
        return _FOREVER, 0
    seconds = int(valid_s)
    return seconds, int((valid_s - seconds) * _SECOND_NS)


class AttributeMaker:
    """Makes `pyfuse3.EntryAttributes`."""

    def __init__(self, ownership: Ownership) -> None:
        self._uid = ownership.uid
        self._gid = ownership.gid
        self._file_mode = stat.S_IFREG | ownership.file_mode
        self._dir_mode = stat.S_IFDIR | ownership.dir_mode

    def entry(self, attributes: Attributes, valid_s: float) -> pyfuse3.EntryAttributes:
        """Return the attributes; the name is good for `valid_s` seconds."""
        entry = pyfuse3.EntryAttributes()
        entry.generation = 0
        entry.attr_timeout = FOREVER_S
        entry.st_uid = self._uid
        entry.st_gid = self._gid
        entry.st_rdev = 0
        self.fill(entry, attributes, valid_s)
        return entry

    def fill(self, entry: pyfuse3.EntryAttributes, attributes: Attributes, valid_s: float) -> None:
        """Set what differs between entries of one mount: a listing uses one object for all."""
        ino, is_directory, size, mtime_ns = attributes
        entry.st_ino = ino
        entry.entry_timeout = min(valid_s, FOREVER_S)
        entry.st_size = size
        entry.st_mtime_ns = entry.st_ctime_ns = entry.st_atime_ns = mtime_ns
        if is_directory:
            entry.st_mode = self._dir_mode
            entry.st_nlink = 2
            entry.st_blksize = DIRECTORY_BLOCK
            entry.st_blocks = 0
        else:
            entry.st_mode = self._file_mode
            entry.st_nlink = 1
            entry.st_blksize = FILE_BLOCK
            entry.st_blocks = (size + 511) // 512

    def absent(self, valid_s: float) -> pyfuse3.EntryAttributes:
        """Return a negative entry, which the kernel keeps for `valid_s` seconds."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = 0
        entry.entry_timeout = min(valid_s, FOREVER_S)
        return entry


def to_errno(error: BaseException) -> int:
    """Return the errno that stands for `error`.

    An `OSError` is a bug like any other: its errno speaks of some file of ours, not of the one that was asked for.
    """
    return error.errno if isinstance(error, MountdError) else errno.EIO
