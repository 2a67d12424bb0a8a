"""What a memory tier under test fetches from: versions whose bytes tell what they are; `Remote` checks promises."""

from contextlib import suppress

import trio

from mountd.cache.block_cache import SMALLEST_CHARGE
from mountd.cache.version import ObjectVersion
from mountd.errors import MountdError
from tests.support.virtual_time import telling_bytes


def content(version):
    """Return the bytes of a version."""
    return telling_bytes(f"{version.key} {version.etag}", version.size)


def a_version(size, key="k", etag='"1"'):
    return ObjectVersion(key, etag, size)


class Remote:
    """The `fetch` of a cache under test; checks the cache's promises at every call."""

    def __init__(self, *, takes_s=1.0):
        self.takes_s = takes_s
        self.before = None
        """Awaited at the start of a fetch with the version and range; may raise."""
        self.cut = 0
        self.tries = 1
        """Of a fetch that fails: what was begun without a task, a task asks for again."""
        self.fetched = []
        self.running = []
        self.cache = None
        self.bytes_of = content

    async def __call__(self, version, wanted):
        budget = self.cache.budget
        assert 0 <= wanted.start < wanted.stop <= version.size
        for other, span in self.running:
            assert other != version or span.stop <= wanted.start or wanted.stop <= span.start, "fetched twice at once"
        call = (version, wanted)
        self.fetched.append(call)
        self.running.append(call)
        try:
            assert sum(span.length for _, span in self.running) <= budget.used <= budget.limit
            if self.before is not None:
                await self.before(version, wanted)
            takes_s = self.takes_s(version, wanted) if callable(self.takes_s) else self.takes_s
            await trio.sleep(takes_s)
            assert sum(span.length for _, span in self.running) <= budget.used <= budget.limit
            return memoryview(self.bytes_of(version))[wanted.start : wanted.stop - self.cut]
        finally:
            self.running.remove(call)

    def begin_in(self, nursery, accepts=lambda: True):
        """Return the `begin` of the cache: the same without a task for it."""

        async def bring(version, wanted, done):
            data = None
            with suppress(Exception):  # the cache then fetches in the ordinary way
                data = await self(version, wanted)
            done(data)

        def begin(version, wanted, done):
            accepted = accepts()
            if accepted:
                nursery.start_soon(bring, version, wanted, done)
            return accepted

        return begin

    def bytes_fetched(self):
        return sum(span.length for _, span in self.fetched)


def held_bytes(cache):
    """Return what the extents of a cache account for, and check what must hold at rest."""
    charged, kept = 0, cache._kept
    for found in cache._objects.values():
        for extent in found.extents.within(0, found.version.size):
            assert extent.pins == 0
            assert extent.data is not None
            assert len(extent.data) == extent.stop - extent.start
            assert extent.charged == max(len(extent.data), SMALLEST_CHARGE)
            queues = [q for q in (kept.fresh, kept.early, kept.left, kept.delivered) if extent in q]
            assert len(queues) == 1
            assert (queues[0] is not kept.fresh) == extent.spent
            charged += extent.charged
        assert found.users or len(found.extents)
    queued = len(kept.left) + len(kept.fresh) + len(kept.early) + len(kept.delivered)
    assert queued == sum(len(found.extents) for found in cache._objects.values())
    assert kept.delivered_bytes == sum(extent.charged for extent in kept.delivered)
    assert kept.early_bytes == sum(extent.charged for extent in kept.early)
    return charged


async def read_into(log, cache, found, start, stop):
    try:
        log.append(bytes(await cache.read(found, start, stop)))
    except MountdError as error:
        log.append(error)
