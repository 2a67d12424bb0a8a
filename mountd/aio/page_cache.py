"""What the page cache holds of a file: asked without waiting for a disk."""

import ctypes
import errno
import mmap
import os
import struct

_libc = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter lock: these calls do not wait
_mincore = _libc.mincore
_mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_CACHESTAT = 451
"""cachestat(2), Linux 6.5: the same number on every machine."""


def is_mostly_in_memory(descriptor: int, start: int, stop: int) -> bool:
    """Return whether the page cache holds half of [start, stop); `start` is at a page.

    Raises:
        OSError: it cannot be told.
    """
    asked, answer = struct.pack("<QQ", start, stop - start), bytearray(5 * 8)
    at = ctypes.c_void_p(address_of(answer))
    if _libc.syscall(_CACHESTAT, descriptor, asked, at, 0) == 0:
        return 2 * int.from_bytes(answer[:8], "little") * mmap.PAGESIZE >= stop - start
    if ctypes.get_errno() not in {errno.ENOSYS, errno.EPERM}:  # sandboxes say EPERM of calls that they do not know
        raise OSError(ctypes.get_errno(), "cachestat")
    return _by_mapping(descriptor, start, stop)


def address_of(buffer: bytearray | memoryview | mmap.mmap) -> int:
    """Return where a writable buffer lies in memory; valid for as long as the buffer is kept as it is."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _by_mapping(descriptor: int, start: int, stop: int) -> bool:
    """The same on older kernels: a few microseconds more."""
    length = stop - start
    pages = bytearray(-(-length // mmap.PAGESIZE))
    size = os.fstat(descriptor).st_size
    if start >= size:
        return True  # nothing to read
    # A private mapping, only because ctypes tells the address of writable ones; nothing is written.
    try:
        with mmap.mmap(descriptor, min(length, size - start), access=mmap.ACCESS_COPY, offset=start) as mapping:
            if _mincore(address_of(mapping), len(mapping), address_of(pages)) != 0:
                raise OSError(ctypes.get_errno(), "mincore")
    except ValueError as error:  # it became shorter since
        raise OSError(errno.EAGAIN, "mmap") from error
    return 2 * pages.count(1) >= len(pages)
