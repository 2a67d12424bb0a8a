"""A namespace over a slow memory store, and shorthands for asking it."""

from mountd.stores.memory import MemoryStore
from mountd.tree.namespace import Namespace
from tests.support.slow_store import SlowStore

TTL = 30.0


class Tree:
    """A namespace over a slow memory store, and shorthands."""

    def __init__(self, nursery, ttl_s, root_key):
        self.memory = MemoryStore(clock=lambda: 0)
        self.store = SlowStore(self.memory)
        self.space = Namespace(self.store, root_key, nursery, ttl_s=ttl_s)
        self.root = self.space.inodes.root

    def set(self, *keys):
        for key in keys:
            self.memory.set(key, b"x")

    def costs(self):
        """Return the calls since the last time, by method."""
        calls = {name: count for name, count in self.memory.calls.items() if count}
        self.memory.calls.clear()
        return calls

    async def look(self, name, directory=None):
        """Return the node of `name`, counted as the kernel would."""
        node = (await self.space.lookup(directory or self.root, name)).node
        if node is not None:
            node.lookups += 1
        return node

    async def etag(self, name, directory=None):
        node = await self.look(name, directory)
        return None if node is None else node.etag

    async def note_etag(self, noted, name):
        """Append to `noted` what `etag` returns."""
        noted.append(await self.etag(name))

    async def list(self, directory=None):
        """Read a directory to its end; return its names."""
        listing = self.space.listing(directory or self.root)
        await listing.wait_until(lambda it: False)
        rows = list(self.space.rows(directory or self.root, listing, 0))
        for row in rows:
            row.node.lookups += 1
        return [row.name for row in rows]
