"""A dataset as a store: it shows what was pinned, asks for nothing but bytes, and never gives other ones."""

from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from mountd.errors import ChangedError, IsDirectoryError, NotFoundError, ReadOnlyError, UnavailableError
from mountd.stores.memory import MemoryStore
from mountd.transfer.download import download_tree
from mountd.transfer.plan import refusal_reason
from mountd.transfer.progress import Progress
from tests.support.datasets import dataset_store, spec_of

parts = st.sampled_from(["a", "b", "ab", "é", "..", "", "z z", "x" * 256])


@given(st.sets(st.lists(parts, min_size=1, max_size=4).map("/".join).filter(bool), max_size=12), st.integers(1, 4))
def test_it_shows_what_the_store_shows_as_far_as_paths_can(keys, limit):
    """Directory by directory, page by page, against the store that was listed."""

    async def compare():
        memory = MemoryStore(page_limit=3)
        for key in keys:
            memory.set(key, key.encode())
        try:
            store = await dataset_store(spec_of(""), memory, page_limit=limit)
        except NotFoundError:
            return
        pending, seen = [""], set()
        while pending:
            directory = pending.pop()
            objects, directories = await names(partial(store.list_page, directory))
            theirs, below = await names(partial(memory.list_page, directory))
            fine = {key for key in theirs if refusal_reason(key) is None and not key.endswith("/")}
            assert set(objects) == fine - set(directories)
            assert set(directories) <= set(below)
            assert objects == sorted(objects, key=str.encode)
            for key in objects:
                assert (await store.stat(key)) == (await memory.stat(key))
                assert (await store.read(key, 0, 999, if_match=None)).data == key.encode()
                seen.add(key)
            pending += directories
        walked, _ = await names(lambda marker: store.walk_page("", marker))
        hidden = {found.path for found in store.listing.header.hidden}
        assert set(walked) == seen | hidden
        assert len(walked) == len(set(walked))

    trio.run(compare)


class BytesOnly:
    """A store that answers nothing but reads."""

    def __init__(self, inner):
        self._inner = inner
        self.name = inner.name

    async def read(self, key, start, length, *, if_match):
        assert if_match is not None
        return await self._inner.read(key, start, length, if_match=if_match)


KEYS = ("d/a", "d/b/c", "d/b/e/f", "d/g")


@pytest.fixture
def memory():
    store = MemoryStore()
    for key in KEYS:
        store.set(key, key.encode() * 10)
    return store


@pytest.fixture
async def store(memory):
    made = await dataset_store(spec_of("d"), memory, page_limit=2)
    made._members = [BytesOnly(memory)]
    return made


async def pages(ask):
    found, marker = [], None
    while True:
        page = await ask(marker)
        found.append(page)
        marker = page.next
        if marker is None:
            return found


async def names(ask):
    """Return keys and directories of all pages."""
    found = await pages(ask)
    return [info.key for page in found for info in page.objects], [key for page in found for key in page.directories]


async def test_nothing_but_bytes_is_asked_for(store):
    assert await names(lambda marker: store.list_page("", marker)) == (["a", "g"], ["b"])
    assert await names(lambda marker: store.list_page("b", marker, limit=1)) == (["b/c"], ["b/e"])
    assert await names(lambda marker: store.walk_page("", marker)) == (["a", "g", "b/c", "b/e/f"], [])
    assert await names(lambda marker: store.walk_page("b", marker)) == (["b/c", "b/e/f"], [])
    for directory in ("missing", "a", "b/c", "/", "b/"):
        assert await names(lambda marker, directory=directory: store.walk_page(directory, marker)) == ([], [])
    assert [await store.is_directory(key) for key in ("b", "b/e", "a", "x", "")] == [True, True, False, False, False]
    assert (await store.stat("b/c")).key == "b/c"
    for key in ("x", "b/x", "b//c", "/a"):
        with pytest.raises(NotFoundError):
            await store.stat(key)
    with pytest.raises(IsDirectoryError):
        await store.stat("b/e")
    chunk = await store.read("b/c", 5, 10, if_match=None)
    assert bytes(chunk.data) == (b"d/b/c" * 10)[5:15]
    assert chunk.etag == (await store.stat("b/c")).etag


async def test_a_page_is_an_object_and_its_info(store):
    for page in await pages(lambda marker: store.walk_page("", marker)):
        assert len(page.objects) == 2
        for info in page.objects:
            assert info == await store.stat(info.key)


@pytest.mark.parametrize("change", ["replace", "delete"])
async def test_a_version_that_is_gone_is_an_error_that_names_the_file(memory, store, change):
    if change == "replace":
        memory.set("d/b/c", b"d/b/c" * 10)
    else:
        memory.delete("d/b/c")
    for _ in range(2):
        with pytest.raises(ChangedError, match=rf"cifar:1: b/c: was {change}d in memory since the dataset was pinned"):
            await store.read("b/c", 0, 1, if_match=(await store.stat("b/c")).etag)
    assert bytes((await store.read("a", 0, 3, if_match=None)).data) == b"d/a"


async def test_an_etag_that_was_never_pinned_matches_nothing(store):
    with pytest.raises(ChangedError, match="pinned to another version"):
        await store.read("a", 0, 1, if_match='"other"')


async def test_a_store_that_lies_about_the_version_is_not_believed(store, memory):
    chunk = await memory.read("d/a", 0, 3, if_match=None)

    async def lying(*_, **__):
        return chunk._replace(size=99)

    store._members[0].read = lying
    with pytest.raises(ChangedError, match="a: has 99 bytes now, and was pinned with 30"):
        await store.read("a", 0, 3, if_match=None)


async def test_it_is_not_written_to(store):
    assert not store.capabilities.writable
    with pytest.raises(ReadOnlyError, match="register a new version"):
        await store.put("a", memoryview(b"x"))
    with pytest.raises(ReadOnlyError):
        await store.begin_upload("a", 1)


async def test_cached_bytes_are_shared_with_the_store_itself(store):
    assert store.cache_place("b/c") == ("id0", "d/b/c")
    with pytest.raises(NotFoundError):
        store.cache_place("x")


async def test_closing_closes_all_members(memory):
    closed = []

    class Closing(MemoryStore):
        async def aclose(self):
            closed.append(self)

    stores = [Closing(), Closing()]
    for member in stores:
        member.set("d/a", b"x")
    await (await dataset_store(spec_of((0, "d", ""), (1, "d", ""), stores=2), *stores)).aclose()
    assert closed == stores


async def test_a_download_has_the_layout_of_the_mount_and_names_what_is_hidden(tmp_path):
    memory = MemoryStore()
    for key in ("d/a//b", "d/aa", "d/odd", "d/odd/child", "d/z", "d/marker", "d/marker/child"):
        memory.set(key, b"" if key == "d/marker" else key.encode())
    store = await dataset_store(spec_of("d"), memory, page_limit=1)
    report = await download_tree(store, "", tmp_path / "out", overwrite=False, progress=Progress())
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"aa", "odd/child", "z", "marker/child"}
    assert sorted(problem.name for problem in report.problems) == ["a//b", "odd"]


async def test_a_download_names_the_file_that_changed(tmp_path, memory):
    store = await dataset_store(spec_of("d"), memory)
    memory.set("d/b/c", b"new")
    memory.delete("d/g")
    report = await download_tree(store, "", tmp_path / "out", overwrite=False, progress=Progress())
    reasons = {problem.name: problem.reason for problem in report.problems}
    assert set(reasons) == {"b/c", "g"}
    assert "was replaced in memory since the dataset was pinned" in reasons["b/c"]
    assert "was deleted in memory since the dataset was pinned" in reasons["g"]
    assert report.files == 2


async def test_a_store_that_is_down_is_not_a_change(memory):
    store = await dataset_store(spec_of("d"), memory)

    async def down(*_args, **_options):
        raise UnavailableError("down")

    memory.read = down
    with pytest.raises(UnavailableError, match="down"):
        await store.read("a", 0, 1, if_match=None)
