"""After a store that kept silent for a whole deadline, later waits are short until it answers again."""

import pytest
import trio

from mountd.cache.block_cache import BlockCache
from mountd.cache.version import ObjectVersion
from mountd.errors import DeadlineError
from mountd.stores.memory import MemoryStore
from mountd.tree.namespace import Namespace
from mountd.units import ByteRange
from mountd.vfs.filesystem import IMPATIENT_S, FileSystem

DEADLINE_S = 60.0


async def test_the_second_lookup_of_a_silent_store_ends_soon_and_an_answer_restores_patience(autojump_clock, nursery):
    answering = trio.Event()
    store = MemoryStore()
    store.set("a", b"1")
    store.set("b", b"2")

    async def on_call(_method: str, _key: str) -> None:
        await answering.wait()

    store.on_call = on_call

    async def fetch(version: ObjectVersion, wanted: ByteRange) -> memoryview:
        return (await store.read(version.key, wanted.start, wanted.length, if_match=version.etag)).data

    namespace = Namespace(store, "", nursery, ttl_s=30)
    cache = BlockCache(fetch, nursery, limit_bytes=1 << 24)
    filesystem = FileSystem(namespace, cache, started_ns=0, deadline_s=DEADLINE_S, ttl_s=30)

    async def seconds_until_it_fails(name: bytes) -> float:
        began = trio.current_time()
        with pytest.raises(DeadlineError):
            await filesystem.lookup(1, name)
        return trio.current_time() - began

    assert await seconds_until_it_fails(b"a") == pytest.approx(DEADLINE_S)
    assert await seconds_until_it_fails(b"b") == pytest.approx(IMPATIENT_S)
    assert await seconds_until_it_fails(b"c") == pytest.approx(IMPATIENT_S)
    answering.set()
    looked = await filesystem.lookup(1, b"a")
    assert looked.attributes is not None
    assert looked.attributes.size == 1
    answering = trio.Event()
    await trio.sleep(60)  # what was learned meanwhile has expired
    assert await seconds_until_it_fails(b"e") == pytest.approx(DEADLINE_S)
    nursery.cancel_scope.cancel()
