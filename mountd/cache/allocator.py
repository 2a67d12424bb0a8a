"""How the C allocator of this process treats the buffers of fetched ranges.

By default glibc spreads them over one heap for every few threads, and maps some of them one by one: holes in many heaps
stay (512 MiB of cached bytes took 900 MiB of memory), and a fresh mapping costs a page fault for every 4 KiB. With
one heap and no mappings the buffers of a stream are used again and again: 512 MiB of cached bytes take 620 MiB, and a
cold sequential read gains a fifth. Measured with `scripts/bench`.
"""

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_NEVER_MAPPED_BYTES = 1 << 30
_TRIMMED_FROM_BYTES = 128 << 20
"""Free memory at the end of the heap goes back to the system from here on."""


def reuse_buffers() -> bool:
    """Make the allocator reuse large buffers; False where the C library has no such settings."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return (
        bool(mallopt(_M_MMAP_THRESHOLD, _NEVER_MAPPED_BYTES))
        and bool(mallopt(_M_TRIM_THRESHOLD, _TRIMMED_FROM_BYTES))
        and bool(mallopt(_M_ARENA_MAX, 1))
    )
