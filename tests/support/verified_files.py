"""What tests of verified files share: a tier that runs, and what the kernel may read of it."""

import contextlib
import threading

import trio

from mountd.cache.disk.verified import VerifiedFiles
from mountd.units import MIB, ByteRange
from tests.support.disk_cache import version_of
from tests.support.disk_tier import World

FILE = version_of("file", 3 * MIB + 5)


class Node(World):
    """A tier, and what the kernel may read of it."""

    def __init__(self, directory, **options):
        super().__init__(directory, **options)
        self.files = VerifiedFiles(self.cache, self.tier)
        self.looks = 0
        self.hold = threading.Event()
        self.hold.set()
        self.begun = threading.Event()
        """The bytes of a file are being looked at, or are about to be once `hold` is set."""
        right = self.files._is_right

        def counted(*args):
            self.begun.set()
            assert self.hold.wait(20)
            self.looks += 1
            return right(*args)

        self.files._is_right = counted

    @contextlib.asynccontextmanager
    async def running(self):
        async with super().running(), trio.open_nursery() as nursery:
            nursery.start_soon(self.files.run)
            yield self
            nursery.cancel_scope.cancel()

    async def bring(self, version=FILE):
        for start in range(0, version.size, MIB):
            assert await self.tier.bring(version, ByteRange(start, min(version.size, start + MIB)))

    async def found(self, version=FILE):
        """Return the file once it was looked at."""
        await self.until(lambda: self.files.find(version) is not None)
        return self.files.find(version)

    async def looked(self):
        """Return once nothing waits to be looked at."""
        await self.until(lambda: not self.files._looking)

    async def looks_in_vain(self, *, errors=0):
        """Ask for the file: it is looked at, and not found to be one that may be passed through."""
        assert self.files.find(FILE) is None
        await self.looked()
        assert self.tier.counters.errors == errors
        assert self.files._verified == {}

    async def looks_at_a_disk_that_hangs(self):
        """Bring the file and ask for it: its look is given up, and hangs until `hold` is set."""
        await self.bring()
        self.hold.clear()
        assert self.files.find(FILE) is None
        await self.looked()

    def path(self, version=FILE):
        return self.cache.layout.file(self.cache.digest(version))
