"""The only place where errors become errnos and attributes become the kernel's."""

import errno
import stat

import pyfuse3

from mountd.errors import MountdError
from mountd.vfs.attributes import Attributes

FOREVER_S = 86400.0
"""For attributes: those of an inode never change, names expire through their entry."""
DIRECTORY_BLOCK = 1 << 20
"""st_blksize of directories: the C library reads entries with a buffer of this size, 6,500 a call instead of 25."""
FILE_BLOCK = 4096
"""st_blksize of files: Python's buffered files read in units of it, and a random reader pays for every byte."""


class AttributeMaker:
    """Makes `pyfuse3.EntryAttributes` with the mount's owner and modes."""

    def __init__(self, *, uid: int, gid: int, file_mode: int, dir_mode: int) -> None:
        self._uid = uid
        self._gid = gid
        self._file_mode = stat.S_IFREG | file_mode
        self._dir_mode = stat.S_IFDIR | dir_mode

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
