"""How the C allocator of this process treats the buffers of fetched ranges.

By default glibc spreads them over one heap for every few threads, and maps some of them one by one: holes in many heaps
stay (512 MiB of cached bytes took 900 MiB of memory), and a fresh mapping costs a page fault for every 4 KiB. With
one heap and no mappings the buffers of a stream are used again and again: 512 MiB of cached bytes take 620 MiB, and a
cold sequential read gains a fifth. Measured with `scripts/bench`.

Memory that a process has never touched is dear in a virtual machine that gives what is free back to its host: up to
3 ms for each MiB, most of what a first read costs. So what one reader needs is touched before anybody reads.
"""

import ctypes
import mmap

from mountd.aio.buffers import unfilled_on
from mountd.units import MIB

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_NEVER_MAPPED_BYTES = 1 << 30
_TRIMMED_FROM_BYTES = 128 << 20
"""Free memory at the end of the heap goes back to the system from here on."""
_MADV_POPULATE_WRITE = 23
_AT_ONCE = 4 * MIB
"""Bytes for each call: as long as it takes, no other thread's heap can grow."""


def reuse_buffers() -> bool:
    """Make the allocator reuse large buffers; False where the C library has no such settings."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (_M_MMAP_THRESHOLD, _NEVER_MAPPED_BYTES),
        (_M_TRIM_THRESHOLD, _TRIMMED_FROM_BYTES),
        (_M_ARENA_MAX, 1),
    )
    taken = [mallopt(name, value) for name, value in settings]  # each of them, also after one that is refused
    return all(taken)


def free_memory(count: int) -> memoryview:
    """Return `count` bytes of the heap of this thread, for `touch`; they are free as soon as nobody refers to them.

    A thread of a lane may have a heap of its own, too small for this.
    """
    return unfilled_on(mmap.PAGESIZE, count)


def touch(memory: memoryview) -> int:
    """Touch `memory`, whose content stays; return how many of its bytes could be.

    Blocks for 0.1 to 3 ms a MiB, without the interpreter's lock. A kernel before 5.14 cannot, and leaves it to who
    writes there first; with too little memory it stops.
    """
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for done in range(0, len(memory), _AT_ONCE):
        if madvise(start + done, min(_AT_ONCE, len(memory) - done), _MADV_POPULATE_WRITE):
            return done
    return len(memory)
