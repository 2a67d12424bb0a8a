"""What every store must do, tried on each: the in-memory reference, a local directory, a Blob container, web files."""

import random

import pytest
import trio

from mountd.errors import ChangedError, IsDirectoryError, NotFoundError
from mountd.stores.memory import MemoryStore
from mountd.units import MIB
from tests.support.store_listings import below, children, pages
from tests.support.stores import FLAT_KINDS, WRITABLE_KINDS

NAMES = [
    " lead",
    "trail ",
    "two words",
    "a+b",
    "a%b",
    "a%20b",
    "a%25b",
    "a%2Fb",
    "a#b",
    "a?b=c&d",
    "~",
    "a'b",
    'a"b',
    "a&amp;b",
    "a<b>c",
    "a:b|c*d",
    "[x]{y}(z)",
    "a`b^c,d;e=f@g$h!i",
    "\u00fc",
    "\u00e9",
    "e\u0301",
    "\u65e5\u672c\u8a9e",
    "\U0001f600",
    "a\u00a0b",
    "a\u200bb",
    "a\u0085b",
    "a\u2028b",
    ".hidden",
    "ends.",
    "..a",
    "a..",
    "...",
    "tab\tb",
    "line\nb",
    "del\x7fb",
    "n" * 255,
]
FLAT_NAMES = ["n" * 300, "\u00e9" * 200]
"""Names that no file system holds."""
flat_only = pytest.mark.parametrize("backend", FLAT_KINDS, indirect=True)
"""For keys beside each other that a directory tree cannot hold."""
writable = pytest.mark.parametrize("backend", WRITABLE_KINDS, indirect=True)
"""For what is written through the store, and for directories that nothing lies below."""


async def assert_gone(backend, store, key, start, length, etag, old, error=ChangedError):
    """An old version cannot be read; a store that kept a copy may still answer with its bytes, and no others."""
    try:
        chunk = await store.read(key, start, length, if_match=etag)
    except error:
        return
    assert backend.kind == "web_whole"
    assert (bytes(chunk.data), chunk.etag, chunk.size) == (old[start : start + length], etag, len(old))


# ---- listing


async def test_a_page_holds_direct_children_only(backend, store):
    for key in ("a", "b/c", "b/d/e", "b2/f"):
        backend.set(key, b"x")
    assert await children(store) == (["a"], {"b", "b2"})
    assert await children(store, "b") == (["b/c"], {"b/d"})
    assert await children(store, "b/d") == (["b/d/e"], set())


async def test_a_listed_object_is_the_object_that_stat_sees(backend, store):
    backend.set("d/a", b"12345")
    [page] = await pages(lambda marker: store.list_page("d", marker))
    assert page.objects == [await store.stat("d/a")]
    assert page.objects[0].size == 5
    [page] = await pages(lambda marker: store.walk_page("", marker))
    assert page.objects == [await store.stat("d/a")]


async def test_an_empty_store_lists_as_empty(store):
    assert await children(store) == ([], set())
    assert await below(store) == ([], set())


@pytest.mark.parametrize("directory", ["missing", "a", "a/b/c", "..", "a/../b", "\udc80", "nul\0"])
async def test_a_directory_that_does_not_exist_lists_as_empty(backend, store, directory):
    backend.set("a", b"x")
    assert await children(store, directory) == ([], set())
    assert await below(store, directory) == ([], set())
    assert not await store.is_directory(directory)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7, 100])
async def test_pages_of_every_size_hold_everything_once(backend, open_store, limit):
    keys = ["a", "b/1", "b/2", "c", "d/e/f", "d/g", "e-", "e/x", "e0"]
    for key in keys:
        backend.set(key, b"x")
    store = open_store(page_limit=limit)
    assert store.capabilities.page_limit == limit
    for page in await pages(lambda marker: store.list_page("", marker)):
        assert len(page.objects) + len(page.directories) <= limit
    assert await children(store) == (["a", "c", "e-", "e0"], {"b", "d", "e"})
    assert await children(store, "b") == (["b/1", "b/2"], set())
    assert (await below(store))[0] == sorted(keys)
    assert (await below(store, "d"))[0] == ["d/e/f", "d/g"]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_a_limit_makes_one_page_smaller(backend, store, limit):
    for index in range(5):
        backend.set(f"k{index}", b"x")
    page = await store.list_page("", limit=limit)
    assert len(page.objects) == limit
    assert page.next is not None
    assert (await children(store, limit=limit))[0] == [f"k{index}" for index in range(5)]


async def test_a_directory_of_many_keys_is_one_directory(backend, open_store):
    for index in range(12):
        backend.set(f"many/{index:02d}", b"")
    backend.set("z", b"")
    store = open_store(page_limit=5)
    assert await children(store) == (["z"], {"many"})
    assert len((await children(store, "many"))[0]) == 12


async def test_listing_goes_on_after_the_entry_it_stopped_at_was_deleted(backend, open_store):
    for index in range(6):
        backend.set(f"k{index}", b"")
    store = open_store(page_limit=2)
    page = await store.list_page("")
    backend.delete("k1")
    backend.delete("k2")
    rest = await pages(lambda marker: store.list_page("", marker or page.next))
    assert {"k3", "k4", "k5"} <= {info.key for page in rest for info in page.objects}
    for info in rest[-1].objects:
        await store.stat(info.key)


async def test_two_listings_at_once_do_not_mix(backend, open_store):
    for index in range(9):
        backend.set(f"k{index}", b"")
        backend.set(f"d/k{index}", b"")
    store = open_store(page_limit=2)
    found = {}

    async def collect(name, directory):
        found[name] = await children(store, directory)

    async with trio.open_nursery() as nursery:
        for name in range(4):
            nursery.start_soon(collect, name, "d" if name % 2 else "")
    assert found[0] == found[2] == ([f"k{index}" for index in range(9)], {"d"})
    assert found[1] == found[3] == ([f"d/k{index}" for index in range(9)], set())


@pytest.mark.parametrize("seed", range(3))
async def test_random_trees_list_like_the_reference(backend, open_store, seed):
    """Names on both sides of the slash in the order of characters; files `f…` and directories `d…` never meet."""
    draw = random.Random(seed)
    reference = MemoryStore()
    endings = ["", "-", "0", "!", "\u00e9", " ", "%", "a"]
    for _ in range(40):
        depth = draw.randrange(4)
        directories = ["d" + draw.choice(endings) for _ in range(depth)]
        key = "/".join([*directories, "f" + draw.choice(endings)])
        reference.set(key, b"")
        backend.set(key, b"")
    store = open_store(page_limit=draw.choice([2, 3, 7]))
    assert (await below(store))[0] == (await below(reference))[0]
    pending = [""]
    while pending:
        directory = pending.pop()
        expected = await children(reference, directory)
        assert await children(store, directory) == expected
        pending.extend(expected[1])


# ---- directories and markers


async def test_is_directory_tells_what_has_something_below_it(backend, store):
    backend.set("a/b/c", b"x")
    backend.set("a2", b"x")
    assert [await store.is_directory(key) for key in ("a", "a/b", "a/b/c", "a2", "b", "a/")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


@writable
async def test_a_marker_is_a_directory_and_no_object(backend, store):
    backend.set_marker("empty")
    backend.set_marker("full")
    backend.set("full/a", b"x")
    backend.set("z", b"x")
    assert await children(store) == (["z"], {"empty", "full"})
    assert await children(store, "empty") == ([], set())
    assert await children(store, "full") == (["full/a"], set())
    keys, markers = await below(store)
    assert keys == ["full/a", "z"]
    assert {"empty", "full"} <= markers
    for key in ("empty", "full"):
        with pytest.raises(IsDirectoryError):
            await store.stat(key)
        with pytest.raises(IsDirectoryError):
            await store.read(key, 0, 10, if_match=None)


@pytest.mark.parametrize("limit", [1, 2, 3])
@writable
async def test_markers_and_pages(backend, open_store, limit):
    for key in ("a", "c/d", "e"):
        backend.set(key, b"x")
    for key in ("b", "c", "f"):
        backend.set_marker(key)
    store = open_store(page_limit=limit)
    assert await children(store) == (["a", "e"], {"b", "c", "f"})
    assert await children(store, "c") == (["c/d"], set())


@flat_only
@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_a_blob_named_with_a_slash_is_a_directory(backend, open_store, limit):
    backend.set("dir/", b"")
    backend.set("dir/a", b"x")
    backend.set("alone/", b"")
    store = open_store(page_limit=limit)
    assert await children(store) == ([], {"alone", "dir"})
    assert await children(store, "dir") == (["dir/a"], set())
    assert await children(store, "alone") == ([], set())
    assert await below(store) == (["dir/a"], {"alone", "dir"})
    assert await below(store, "dir") == (["dir/a"], set())
    assert await store.is_directory("alone")
    with pytest.raises(IsDirectoryError):
        await store.stat("alone/")
    with pytest.raises(NotFoundError):
        await store.stat("alone")


@flat_only
async def test_metadata_on_an_object_with_bytes_does_not_hide_them(backend, store):
    backend.set_marker("x")
    backend.set("x", b"bytes")
    assert await children(store) == (["x"], set())
    assert bytes((await store.read("x", 0, 9, if_match=None)).data) == b"bytes"


@flat_only
async def test_an_object_beside_a_directory_of_the_same_name(backend, store):
    backend.set("odd", b"file")
    backend.set("odd/child", b"x")
    backend.set("odd-", b"x")
    assert await children(store) == (["odd", "odd-"], {"odd"})
    assert await children(store, "odd") == (["odd/child"], set())
    assert (await store.stat("odd")).size == 4
    assert await store.is_directory("odd")


@flat_only
async def test_empty_segments_are_listed_and_can_be_read(backend, open_store):
    for index, key in enumerate(["a//b", "a/c", "/lead", "a//", "t//", "plain"]):
        backend.set(key, bytes([index]))
    store = open_store(page_limit=2)
    assert await children(store) == (["plain"], {"", "a", "t"})
    assert await children(store, "a") == (["a/c"], {"a/"})
    assert await children(store, "a/") == (["a//b"], set())
    assert await children(store, "t") == ([], {"t/"})
    for index, key in [(0, "a//b"), (2, "/lead")]:
        info = await store.stat(key)
        assert info.size == 1
        assert bytes((await store.read(key, 0, 5, if_match=info.etag)).data) == bytes([index])
    for key in ("a/b", "lead"):
        with pytest.raises(NotFoundError):
            await store.stat(key)


# ---- names


async def test_hard_names_are_listed_once_and_open(backend, store):
    names = NAMES + (FLAT_NAMES if backend.flat else [])
    for name in names:
        backend.set(f"top/{name}", name.encode())
        backend.set(f"deep/{name}/x", name.encode())
    assert await children(store, "top") == (sorted(f"top/{name}" for name in names), set())
    assert await children(store, "deep") == ([], {f"deep/{name}" for name in names})
    for name in names:
        info = await store.stat(f"top/{name}")
        assert info.key == f"top/{name}"
        chunk = await store.read(f"top/{name}", 0, 1000, if_match=info.etag)
        assert bytes(chunk.data) == name.encode()
        assert await children(store, f"deep/{name}") == ([f"deep/{name}/x"], set())


@writable
async def test_hard_names_can_be_written(backend, store):
    for name in NAMES:
        info = await store.put(f"new/{name}", memoryview(name.encode()))
        assert info == await store.stat(f"new/{name}")
    assert (await children(store, "new"))[0] == sorted(f"new/{name}" for name in NAMES)


@pytest.mark.parametrize("key", ["..", ".", "../x", "a/../b", "a/.", "./a", "a/\udc80\ud800", "a\0b", "k" * 2000])
async def test_names_that_cannot_exist_name_nothing(backend, store, key):
    backend.set("a/b", b"x")
    backend.set("b", b"x")
    with pytest.raises(NotFoundError):
        await store.stat(key)
    with pytest.raises(NotFoundError):
        await store.read(key, 0, 1, if_match=None)


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
