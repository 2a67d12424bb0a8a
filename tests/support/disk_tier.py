"""What tests of the disk tier share: a store that counts, and a tier before it that runs."""

import contextlib

import trio
import trio.lowlevel

from mountd.cache.disk.tier import DiskTier
from mountd.cache.version import never
from mountd.units import MIB, ByteRange
from tests.support.disk_cache import bytes_of, open_cache, version_of

FILE = version_of("file", 3 * MIB)
WHOLE = ByteRange(0, FILE.size)


class Origin:
    """A store that counts."""

    def __init__(self):
        self.asked = []
        self.error = None
        self.hold = None

    async def fetch(self, version, wanted):
        self.asked.append((version.key, wanted))
        await trio.lowlevel.checkpoint()
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return bytes_of(version, *wanted)


class World:
    """A tier that runs."""

    def __init__(self, directory, queue_bytes=16 * MIB, pace=None, *, opened=True, begin=never, **limits):
        self.directory = directory
        self.origin = Origin()
        self.cache = open_cache(directory, opened=opened, **limits)
        trouble = None if opened else OSError("the directory cannot be used")
        self.tier = DiskTier(self.cache, self._fetch, begin=begin, queue_bytes=queue_bytes, trouble=trouble, pace=pace)

    async def _fetch(self, version, wanted):
        return await self.origin.fetch(version, wanted)

    @contextlib.asynccontextmanager
    async def running(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.tier.run)
            await self.tier.wait_ready()
            yield self
            nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self.tier.aclose()

    async def until(self, condition):
        with trio.fail_after(20):
            while not condition():  # noqa: ASYNC110 - what the tier's tasks did is announced to nobody
                await trio.sleep(0.005)

    async def read(self, version=FILE, wanted=None):
        wanted = wanted or ByteRange(0, version.size)
        data = await self.tier.fetch(version, wanted)
        assert data == bytes_of(version, *wanted)
        return data
