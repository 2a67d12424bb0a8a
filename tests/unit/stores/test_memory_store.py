"""What only the in-memory reference offers: changes from outside and hooks. The rest is in the contract suite."""

import pytest

from mountd.errors import ChangedError, NotFoundError, ReadOnlyError
from mountd.stores.memory import MemoryStore


async def test_changes_from_outside_are_seen_at_once_under_new_etags():
    store = MemoryStore()
    first = store.set("a", b"one")
    second = store.set("a", b"two")
    assert first.etag != second.etag
    with pytest.raises(ChangedError):
        await store.read("a", 0, 3, if_match=first.etag)
    assert bytes((await store.read("a", 0, 3, if_match=second.etag)).data) == b"two"
    store.delete("a")
    with pytest.raises(NotFoundError):
        await store.stat("a")
    third = store.set("a", b"one")
    assert third.etag not in {first.etag, second.etag}


async def test_the_hook_runs_before_the_answer_is_made():
    store = MemoryStore()

    async def replace(method: str, key: str) -> None:
        if method == "read":
            store.set(key, b"new")

    old = store.set("a", b"old")
    store.on_call = replace
    with pytest.raises(ChangedError):
        await store.read("a", 0, 3, if_match=old.etag)
    assert store.calls["read"] == 1


async def test_a_read_only_store_refuses_writes_but_not_outside_changes():
    store = MemoryStore(writable=False)
    store.set("a", b"x")
    with pytest.raises(ReadOnlyError):
        await store.put("a", memoryview(b"y"))
    with pytest.raises(ReadOnlyError):
        await store.begin_upload("a", 1)


async def test_the_page_size_can_change_between_pages():
    store = MemoryStore(page_limit=1)
    for index in range(10):
        store.set(f"k{index}", b"")
    page = await store.list_page("")
    assert [o.key for o in page.objects] == ["k0"]
    store.page_limit = 100
    page = await store.list_page("", page.next)
    assert [o.key for o in page.objects] == [f"k{index}" for index in range(1, 10)]
    assert page.next is None
