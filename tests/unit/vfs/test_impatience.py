"""After a store that kept silent for a whole deadline, later waits are short until it answers again."""

import pytest
import trio

from mountd.cache.block_cache import BlockCache
from mountd.cache.version import ObjectVersion
from mountd.errors import DeadlineError
from mountd.stores.memory import MemoryStore
from mountd.tree.namespace import Namespace
from mountd.units import ByteRange
from mountd.vfs.filesystem import FileSystem
from mountd.vfs.patience import IMPATIENT_S
from tests.support.memory_mount import MemoryMount

DEADLINE_S = 60.0


async def test_a_store_that_is_slow_after_an_outage_does_not_stay_out_of_reach(autojump_clock, nursery):
    """Each of its answers takes longer than an impatient wait."""
    mount = MemoryMount(nursery, deadline_s=DEADLINE_S)
    for name in "abc":
        mount.put(name, 1000)
    mount.store.hanging = True
    with pytest.raises(DeadlineError):
        await mount.kernel.stat("a")
    mount.store.hanging = False
    mount.store.there_s = 2 * IMPATIENT_S
    with pytest.raises(DeadlineError):
        await mount.kernel.stat("b")
    await trio.sleep(2 * IMPATIENT_S)
    assert (await mount.kernel.stat("c")).size == 1000
    assert len(await mount.kernel.read_file("b")) == 1000


async def test_nobody_is_impatient_long_after_an_outage(autojump_clock, nursery):
    mount = MemoryMount(nursery, deadline_s=DEADLINE_S)
    mount.put("a", 1000)
    mount.store.hanging = True
    with pytest.raises(DeadlineError):
        await mount.kernel.stat("a")
    mount.store.hanging = False
    mount.store.there_s = 2 * IMPATIENT_S
    await trio.sleep(2 * DEADLINE_S)
    assert len(await mount.kernel.read_file("a")) == 1000


async def test_who_waited_for_memory_in_vain_makes_nobody_impatient(autojump_clock, nursery):
    """The store answers all the time, only not for everybody soon enough."""
    mount = MemoryMount(nursery, deadline_s=DEADLINE_S, memory_bytes=64 * 1024)
    mount.put("large", 1 << 20)
    mount.put("small", 1000)
    mount.store.there_s = 3 * IMPATIENT_S
    with pytest.raises(DeadlineError):
        await mount.kernel.read_file("large")
    assert (await mount.kernel.stat("small")).size == 1000


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
