"""Everything of a mount but FUSE, over a memory store, under virtual time."""

from itertools import count

import trio

from mountd.aio.retry import RetryPolicy
from mountd.cache.block_cache import BlockCache
from mountd.cache.version import never
from mountd.modes.mount import begin_from
from mountd.stores.guarded import GuardedStore
from mountd.stores.memory import MemoryStore
from mountd.stores.single import SingleObjectStore
from mountd.tree.namespace import Namespace
from mountd.units import MIB
from mountd.vfs.filesystem import FileSystem
from mountd.vfs.opens import WHOLE_AT_OPEN
from tests.support.kernel_model import KernelModel
from tests.support.quick_store import QuickStore
from tests.support.slow_store import SlowStore
from tests.support.virtual_time import telling_bytes

SIZES = [1, 100_000, WHOLE_AT_OPEN, WHOLE_AT_OPEN + 1, 3 * MIB]
"""Of files that `open` fetches whole, and of those of which it does not."""
LARGE = 8 * MIB


class MemoryMount:
    """A mount put together as `modes/mount.py` does it, with `kernel` in the place of FUSE.

    Every version of an object has a modification time of its own, by which tests tell which one they see.
    """

    def __init__(
        self, nursery, *, ttl_s=30.0, memory_bytes=64 * MIB, deadline_s=60.0, root="", single=None, quick=None
    ):
        """`quick`: says of each small read whether it may begin without a task; None: none may."""
        self._ticks = count(1)
        self._names = count(1)
        self.memory = MemoryStore(clock=lambda: next(self._ticks))
        self.store = SlowStore(self.memory)
        self.tries = 1 if quick is None else 2
        """Of a read that is refused: what was begun without a task, a task asks again."""
        asked = self.store if quick is None else QuickStore(self.store, quick)
        self.guarded = GuardedStore(asked, RetryPolicy(deadline_s=deadline_s))
        self.shown = self.guarded if single is None else SingleObjectStore(self.guarded, single)
        self.namespace = Namespace(self.shown, root, nursery, ttl_s=ttl_s)
        begin = begin_from(self.shown) if quick else never
        self.cache = BlockCache(self._fetch, nursery, limit_bytes=memory_bytes, begin=begin)
        nursery.start_soon(self.guarded.serve)
        self.fs = FileSystem(
            self.namespace,
            self.cache,
            started_ns=0,
            deadline_s=deadline_s + 5,
            ttl_s=ttl_s,
            request_s=lambda: self.guarded.shortest_read.value_s,
        )
        # Open may wait for a name and then for bytes, each with the deadline.
        self.kernel = KernelModel(self.fs, longest_s=2 * (deadline_s + 5) + 1)
        self.ttl_s = ttl_s

    async def _fetch(self, version, wanted):
        assert self.cache.budget.used <= self.cache.budget.limit
        chunk = await self.shown.read(version.key, wanted.start, wanted.length, if_match=version.etag)
        return chunk.data

    # ---- the remote side

    def put(self, key, size=100_000):
        """Write a new version of `size` telling bytes; return them."""
        data = telling_bytes(f"{key} {next(self._names)}", size)
        self.memory.set(key, data)
        return data

    # ---- at the end

    async def check_nothing_is_left(self):
        """With all files closed and all names forgotten, nothing is known, pinned, waiting or under way."""
        self.kernel.drop_caches()
        await trio.sleep(1e4)
        assert self.fs.open_handles == 0
        assert set(self.kernel.inodes) == {self.kernel.root.ino}
        assert [node.ino for node in self.namespace.inodes] == [self.kernel.root.ino]
        assert self.namespace.inodes.root.children == {}
        assert self.store.running == 0
        assert len(self.namespace._questions) == 0
        budget = self.cache.budget
        extents = [
            extent for found in self.cache._objects.values() for extent in found.extents.within(0, found.version.size)
        ]
        assert all(found.users == 0 and len(found.extents) for found in self.cache._objects.values())
        assert all(extent.pins == 0 and extent.data is not None for extent in extents)
        assert budget.used == sum(extent.charged for extent in extents)
        assert budget.peak <= budget.limit
        assert budget.waiting == 0
