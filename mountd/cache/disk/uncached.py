"""Reading a file of the cache without a copy in the page cache.

What a mount reads ends in the page cache as pages of the mount. Pages of the cache's own file beside them would take
the same memory again, and making and copying them costs more than all else about a read from disk: with O_DIRECT the
second mount of a large file is a quarter faster. But where those pages are in memory already, as they are when the file
was filled a moment ago, they are faster than any disk, and are read in the ordinary way.
"""

import ctypes
import errno
import fcntl
import mmap
import os

from mountd.aio.buffers import unfilled_on

WORTH_IT = 1 << 20
"""Bytes of a read from which on asking about pages costs next to nothing."""
BLOCK = 4096
"""Offsets, lengths and addresses of direct reads are multiples of it: of every disk's logical block."""

_mincore = ctypes.CDLL(None, use_errno=True).mincore
_mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def read_uncached(descriptor: int, start: int, stop: int) -> memoryview | None:
    """Return the bytes [start, stop) of a file, fewer where it ends before; None: better read in the ordinary way.

    That is so where the pages are in memory, the read is short or does not start on a block, or the file system cannot.

    Raises:
        OSError: the disk failed.
    """
    if stop - start < WORTH_IT or start % mmap.ALLOCATIONGRANULARITY or is_mostly_in_memory(descriptor, start, stop):
        return None
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        return _read(descriptor, start, stop - start)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
            raise
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
        return None


def is_mostly_in_memory(descriptor: int, start: int, stop: int) -> bool:
    """Return whether the page cache holds half of [start, stop); yes where that cannot be told."""
    length = stop - start
    pages = bytearray(-(-length // mmap.PAGESIZE))
    try:
        # A private mapping, only because ctypes tells the address of writable ones; nothing is written.
        with mmap.mmap(descriptor, length, access=mmap.ACCESS_COPY, offset=start) as mapping:
            first, answer = ctypes.c_char.from_buffer(mapping), ctypes.c_char.from_buffer(pages)
            told = _mincore(ctypes.addressof(first), length, ctypes.addressof(answer)) == 0
            del first, answer  # else the mapping cannot be closed
    except (OSError, ValueError):  # of a file system without mappings, or shorter than it was
        return True
    return not told or 2 * pages.count(1) >= len(pages)


def _read(descriptor: int, start: int, length: int) -> memoryview:
    buffer = unfilled_on(BLOCK, length + -length % BLOCK)
    got = 0
    while got < length:
        count = os.preadv(descriptor, [buffer[got:]], start + got)
        got += count
        if not count or count % BLOCK:
            break  # the end of the file
    return buffer[: min(got, length)]
