"""What every store must list, tried on each: the in-memory reference, a local directory, a container, web files."""

import random

import pytest
import trio

from mountd.errors import IsDirectoryError, NotFoundError
from mountd.stores.memory import MemoryStore
from mountd.stores.pages import each_page
from tests.support.store_listings import below, children, pages
from tests.support.stores import flat_only, writable

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


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_pages_asked_for_ahead_are_those_that_come_one_by_one(backend, open_store, limit, deep):
    for key in ("a", "b/1", "b/2", "c", "d & e/f", "d<g", "e-", "e/x", "e0", "\u00e9"):
        backend.set(key, b"x")
    store, ahead = open_store(page_limit=limit), []

    def names(page):  # versions of new files and markers are those of one listing
        return [info.key for info in page.objects], page.directories

    await each_page(store, "", lambda page, _: ahead.append(names(page)), deep=deep)
    one_by_one = await pages(lambda marker: (store.walk_page if deep else store.list_page)("", marker))
    assert ahead == [names(page) for page in one_by_one]


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
