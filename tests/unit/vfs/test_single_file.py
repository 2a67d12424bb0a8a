"""A single object, mounted as a directory that holds it."""

import pytest
import trio

from mountd.errors import DeadlineError, NotFoundError, ReadOnlyError, StaleHandleError
from mountd.stores.memory import MemoryStore
from mountd.stores.single import SingleObjectStore
from tests.support.memory_mount import MemoryMount


@pytest.fixture
def mount(nursery):
    made = MemoryMount(nursery, single="data/set/table.csv")
    made.put("data/set/other.csv")
    made.put("table.csv")
    return made


async def test_nothing_but_the_object_is_seen(autojump_clock, mount):
    data = mount.put("data/set/table.csv", 300_000)
    assert list(await mount.kernel.listdir("")) == [b"table.csv"]
    assert await mount.kernel.read_file("table.csv") == data
    for name in ("other.csv", "data", "set"):
        with pytest.raises(NotFoundError):
            await mount.kernel.stat(name)
    await mount.check_nothing_is_left()


async def test_it_keeps_the_rules_of_versions(autojump_clock, mount):
    old = mount.put("data/set/table.csv", 8 << 20)
    opened = await mount.kernel.open("table.csv")
    new = mount.put("data/set/table.csv", 8 << 20)
    assert await mount.kernel.read(opened, 0, 1000) == old[:1000]
    with pytest.raises(StaleHandleError):
        await mount.kernel.read(opened, 4 << 20, 1000)
    assert await mount.kernel.read_file("table.csv", 1 << 20) == new
    mount.kernel.close(opened)
    mount.memory.delete("data/set/table.csv")
    await trio.sleep(30)
    assert await mount.kernel.listdir("") == {}
    with pytest.raises(NotFoundError):
        await mount.kernel.stat("table.csv")
    await mount.check_nothing_is_left()


async def test_a_store_that_is_down_is_not_an_empty_directory(autojump_clock, mount):
    mount.put("data/set/table.csv")
    mount.store.hanging = True
    with pytest.raises(DeadlineError):
        await mount.kernel.listdir("")


async def test_it_is_not_written_to(autojump_clock):
    store = SingleObjectStore(MemoryStore(), "d/f")
    assert (store.shown, store.name, store.capabilities.writable) == ("f", "memory/d/f", False)
    with pytest.raises(ReadOnlyError):
        await store.put("f", memoryview(b"x"))
    with pytest.raises(ReadOnlyError):
        await store.begin_upload("f", 1)
    for directory in ("", "d"):
        assert (await store.walk_page(directory)).objects == []
    assert not await store.is_directory("d")
    await store.aclose()
