"""Bytes to and from the files of the cache, with a checksum for each run. Calls block unless they say otherwise.

Only regular files are read and written, and no link is followed: whatever else lies where a file should be (a FIFO,
which would keep its opener waiting for ever) is a file that is lost, and makes way for the next one.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

import xxhash

from mountd.aio.buffers import cut_out
from mountd.cache.disk.entry import CELL, RUN, Run
from mountd.cache.disk.layout import Layout, remove
from mountd.units import ByteRange

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_sync_file_range = ctypes.CDLL(None, use_errno=True).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_WRITE_AND_WAIT = 1 | 2 | 4
_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.ESPIPE, errno.EPERM})
"""What a file system, kernel or sandbox says that does not know how to write a part of a file."""
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENOTDIR, errno.EACCES})
"""What opening says of a link, a socket or FIFO, a directory, a place below a file, a file that may not be opened."""


class BadRunError(Exception):
    """Bytes on the disk are not those that were written."""

    def __init__(self, run: Run) -> None:
        super().__init__(f"bytes {run.start} to {run.stop} do not match their checksum")
        self.run = run


def storable(start: int, stop: int, size: int) -> ByteRange | None:
    """Return the part of [start, stop) that the cache can take: whole cells, or up to the object's end."""
    first = start + -start % CELL
    last = stop if stop == size else stop - stop % CELL
    return ByteRange(first, last) if first < last else None


def checksum(data: memoryview) -> int:
    """Return the low 32 bits of XXH3."""
    return xxhash.xxh3_64_intdigest(data) & 0xFFFFFFFF


def write(layout: Layout, digest: int, start: int, data: memoryview) -> tuple[list[Run], int]:
    """Write `data` at `start` of an object's file; return its runs and the bytes of disk that the file takes now."""
    descriptor = _create(layout.file(digest))
    try:
        runs = []
        position = start
        stop = start + data.nbytes
        while position < stop:
            upto = min(stop, position - position % RUN + RUN)
            runs.append(Run(position, upto, checksum(data[position - start : upto - start])))
            position = upto
        written = 0
        while written < data.nbytes:
            written += os.pwrite(descriptor, data[written:], start + written)
        return runs, os.fstat(descriptor).st_blocks * 512
    finally:
        os.close(descriptor)


class Held(NamedTuple):
    """Bytes that a file of the cache holds, as far as is known."""

    digest: int
    path: str
    runs: Sequence[Run]
    """Cover `wanted`; by offset."""
    wanted: ByteRange

    @property
    def whole(self) -> ByteRange:
        """What has to be read so that all runs can be checked."""
        return ByteRange(self.runs[0].start, max(run.stop for run in self.runs))


def read(held: Held) -> memoryview:
    """Return the bytes of `held.whole`, fewer where the file ends before; `checked` takes them.

    Raises:
        FileNotFoundError: the file was evicted meanwhile, or is lost, or is no file.
    """
    descriptor = open_to_read(held.path)
    try:
        return read_from(descriptor, held)
    finally:
        os.close(descriptor)


def read_from(descriptor: int, held: Held) -> memoryview:
    """Return the same, out of a file that is open."""
    return memoryview(_read(descriptor, *held.whole))


def checked(held: Held, data: memoryview) -> memoryview:
    """Return the bytes of `held.wanted` out of those of `held.whole`; does not block.

    Raises:
        BadRunError: the bytes are not those that were written.
    """
    start = held.runs[0].start
    for run in held.runs:
        if run.stop > start + data.nbytes or checksum(data[run.start - start : run.stop - start]) != run.checksum:
            raise BadRunError(run)
    return cut_out(data, held.wanted.start - start, held.wanted.stop - start)  # whoever keeps it pays for no more


def write_back(descriptor: int, start: int, stop: int) -> None:
    """Have the bytes [start, stop) of a file written to its disk; some file systems do nothing, such as overlayfs.

    Raises:
        OSError: the disk did not take them.
    """
    if _sync_file_range(descriptor, start, stop - start, _WRITE_AND_WAIT) != 0:
        number = ctypes.get_errno()
        if number not in _CANNOT:
            raise OSError(number, os.strerror(number))


def leave_memory(descriptor: int) -> None:
    """Have memory forget what the disk holds of a file, all at once: the kernel forgets no part of a large page."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def open_to_read(path: str) -> int:
    """Return a descriptor of the file at `path`.

    Raises:
        FileNotFoundError: there is none, or something else.
    """
    return _open(path, os.O_RDONLY)


def _read(descriptor: int, start: int, stop: int) -> bytes:
    data = os.pread(descriptor, stop - start, start)
    while len(data) < stop - start:
        more = os.pread(descriptor, stop - start - len(data), start + len(data))
        if not more:
            break  # shorter than it was: the checksum will say so
        data += more
    return data


def _open(path: str, flags: int) -> int:
    """Return a descriptor of the regular file at `path`.

    Raises:
        FileNotFoundError: there is none, or something else.
    """
    try:
        descriptor = os.open(path, flags | _FLAGS, 0o600)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise FileNotFoundError(errno.ENOENT, "is no file of the cache", path) from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "is no file of the cache", path)


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT
    try:
        return _open(path, flags)
    except FileNotFoundError:
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            remove(parent)
            os.makedirs(parent, mode=0o700, exist_ok=True)
        remove(path)
        return _open(path, flags)
