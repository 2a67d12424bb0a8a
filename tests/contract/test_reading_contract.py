"""What every store must do for its readers, tried on each."""

import random

import pytest
import trio

from mountd.errors import ChangedError, NotFoundError
from mountd.units import MIB
from tests.support.store_listings import children
from tests.support.stores import writable


async def assert_gone(backend, store, key, start, length, etag, old, error=ChangedError):
    """An old version cannot be read; a store that kept a copy may still answer with its bytes, and no others."""
    try:
        chunk = await store.read(key, start, length, if_match=etag)
    except error:
        return
    assert backend.kind == "web_whole"
    assert (bytes(chunk.data), chunk.etag, chunk.size) == (old[start : start + length], etag, len(old))


# ---- reading


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 10), (0, 1), (3, 4), (9, 1), (9, 100), (0, 100), (10, 1), (10, 0), (0, 0), (11, 5), (10**12, 1)],
)
async def test_a_read_is_the_slice(backend, store, start, length):
    backend.set("a", b"0123456789")
    chunk = await store.read("a", start, length, if_match=None)
    assert bytes(chunk.data) == b"0123456789"[start : start + length]
    assert chunk.size == 10
    assert chunk.etag == (await store.stat("a")).etag
    again = await store.read("a", start, length, if_match=chunk.etag)
    assert again == chunk


async def test_a_chunk_is_a_contiguous_view_of_bytes(backend, store):
    backend.set("a", bytes(range(256)) * 100)
    chunk = await store.read("a", 10, 5000, if_match=None)
    assert chunk.data.contiguous
    assert (chunk.data.format, chunk.data.itemsize, chunk.data.ndim) == ("B", 1, 1)
    assert chunk.data.nbytes == 5000


@pytest.mark.parametrize("length", [0, 1, 100])
async def test_an_empty_object_reads_as_nothing(backend, store, length):
    backend.set("empty", b"")
    info = await store.stat("empty")
    assert info.size == 0
    chunk = await store.read("empty", 0, length, if_match=info.etag)
    assert (bytes(chunk.data), chunk.etag, chunk.size) == (b"", info.etag, 0)


async def test_a_large_object_comes_whole_in_ranges(backend, store):
    data = random.Random(1).randbytes(3 * MIB + 17)
    backend.set("large", data)
    info = await store.stat("large")
    parts = {}

    async def fetch(start):
        parts[start] = bytes((await store.read("large", start, MIB, if_match=info.etag)).data)

    async with trio.open_nursery() as nursery:
        for start in range(0, info.size, MIB):
            nursery.start_soon(fetch, start)
    assert b"".join(parts[start] for start in sorted(parts)) == data


async def test_what_is_not_there_is_not_found(backend, store):
    backend.set("a/b", b"x")
    for key in ("missing", "a", "a/c", "a/b/c", "missing/x"):
        with pytest.raises(NotFoundError):
            await store.stat(key)
        with pytest.raises(NotFoundError):
            await store.read(key, 0, 1, if_match=None)


@pytest.mark.parametrize("replacement", [b"new", b"longer than before", b""])
@pytest.mark.parametrize("start", [0, 2, 3, 50])
async def test_an_old_version_is_never_read(backend, store, replacement, start):
    backend.set("a", b"old")
    old = await store.stat("a")
    backend.set("a", replacement)
    await assert_gone(backend, store, "a", start, 3, old.etag, b"old")
    new = await store.stat("a")
    assert new.etag != old.etag
    chunk = await store.read("a", 0, 100, if_match=new.etag)
    assert bytes(chunk.data) == replacement


async def test_every_change_has_its_own_etag_within_one_second_and_at_equal_size(backend, store):
    etags = []
    for index in range(20):
        backend.set("a", b"%04d" % index)
        etags.append((await store.stat("a")).etag)
        assert bytes((await store.read("a", 0, 4, if_match=etags[-1])).data) == b"%04d" % index
    assert len(set(etags)) == 20
    for index, etag in enumerate(etags[:-1]):
        await assert_gone(backend, store, "a", 0, 4, etag, b"%04d" % index)


@writable
async def test_listing_and_stat_and_read_and_put_agree_on_etags(backend, store):
    for key in ("plain", "d/plain", "d/with space"):
        info = await store.put(key, memoryview(b"data"))
        assert info.etag.startswith('"')
        assert info.etag.endswith('"')
        assert info == await store.stat(key)
        assert (await store.read(key, 0, 4, if_match=info.etag)).etag == info.etag
        listed = await store.list_page(key.rpartition("/")[0])
        assert info in listed.objects


async def test_a_deleted_object_is_not_found_whatever_the_etag(backend, store):
    backend.set("a", b"x")
    info = await store.stat("a")
    backend.delete("a")
    with pytest.raises(NotFoundError):
        await store.read("a", 0, 1, if_match=None)
    await assert_gone(backend, store, "a", 0, 1, info.etag, b"x", NotFoundError)
    backend.set("a", b"x")
    await assert_gone(backend, store, "a", 0, 1, info.etag, b"x")


# ---- cancellation


async def test_cancelled_calls_break_nothing(backend, store):
    backend.set("a", b"0123456789")
    info = await store.stat("a")
    calls = [
        lambda: store.read("a", 0, 10, if_match=info.etag),
        lambda: store.stat("a"),
        lambda: store.list_page(""),
        lambda: store.walk_page(""),
        lambda: store.is_directory("a"),
    ]
    async with trio.open_nursery() as nursery:
        for call in calls * 10:
            nursery.start_soon(call)
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert await store.stat("a") == info
    assert await children(store) == (["a"], set())
    assert bytes((await store.read("a", 0, 10, if_match=info.etag)).data) == b"0123456789"


@writable
async def test_a_cancelled_write_leaves_the_old_or_the_new_object(backend, store):
    backend.set("a", b"old")
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.put("a", memoryview(b"new"))
    upload = await store.begin_upload("b", 3)
    with trio.CancelScope() as scope:
        scope.cancel()
        await upload.part(0, memoryview(b"xxx"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await upload.abort()
    assert (await children(store))[0] == ["a"]
    assert bytes((await store.read("a", 0, 9, if_match=None)).data) in (b"old", b"new")
