"""The bytes of generated objects: every object is a window on one endless, seeded tape.

The tape is a loop of `tape_bytes` random bytes in anonymous memory, so that `sendfile` serves any object without a
copy. Where an object begins follows from its name and version alone, so any process can tell which bytes to expect.
Invariants: the loop is a prime number of pages long, so no two block-aligned ranges of one object look alike before
the loop closes; objects begin on a page.
"""

import hashlib
import mmap
import os
import random
from collections.abc import Iterator

PAGE = mmap.PAGESIZE
DEFAULT_PAGES = 4099  # prime; 16 MiB, generated in a blink
LARGE_PAGES = 65537  # prime; 256 MiB, more than a processor caches

_CHUNK = 1 << 20


class Tape:
    """`pages` pages of bytes that follow from `seed`; `fd` serves `sendfile`, `view` everything else."""

    def __init__(self, *, pages: int = DEFAULT_PAGES, seed: int = 0) -> None:
        self.length = pages * PAGE
        self.fd = os.memfd_create("tape", os.MFD_CLOEXEC)
        source = random.Random(seed)
        left = self.length
        while left:
            left -= os.write(self.fd, source.randbytes(min(left, _CHUNK)))
        self._map = mmap.mmap(self.fd, self.length, prot=mmap.PROT_READ)
        self.view = memoryview(self._map)

    def start_of(self, container: str, key: str, version: int) -> int:
        """Return where on the tape `version` (0, 1, …) of an object begins."""
        digest = hashlib.blake2b(f"{container}\0{key}\0{version}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % (self.length // PAGE) * PAGE

    def windows(self, start: int, length: int) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) pieces of the loop that together are `length` bytes from `start` on."""
        offset = start % self.length
        while length:
            piece = min(length, self.length - offset)
            yield offset, piece
            offset, length = 0, length - piece

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on."""
        return b"".join(self.view[offset : offset + piece] for offset, piece in self.windows(start, length))

    def close(self) -> None:
        """Give the memory back."""
        self.view.release()
        self._map.close()
        os.close(self.fd)
