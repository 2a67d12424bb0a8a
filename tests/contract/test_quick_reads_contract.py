"""What a store that reads without a task for each must do, tried on each: give what `read` gives, or nothing."""

import random

import pytest
import trio

from mountd.aio.retry import RetryPolicy
from mountd.stores.base import Missed, QuickReads
from mountd.stores.guarded import GuardedStore
from mountd.stores.single import SingleObjectStore
from tests.support.datasets import dataset_store, spec_of
from tests.support.quick_store import QuickStore
from tests.support.stores import FLAT_KINDS

pytestmark = pytest.mark.parametrize("backend", FLAT_KINDS, indirect=True)

DATA = random.Random(2).randbytes(200_000)


async def begun(store, key, start, length, *, if_match):
    """Return what a read that is begun brings, None if nothing; "no" if it is not begun."""
    chunks, here = [], trio.Event()

    def done(chunk):
        chunks.append(None if isinstance(chunk, Missed) else chunk)
        here.set()

    if not store.begin_read(key, start, length, if_match=if_match, done=done):
        return "no"
    assert chunks == []
    with trio.fail_after(20):
        await here.wait()
    assert len(chunks) == 1
    return chunks[0]


@pytest.fixture
async def quick(backend, store, nursery):
    """The store, or one around it that can do it; with something at hand to begin with."""
    quick = store if isinstance(store, QuickReads) else QuickStore(store)
    backend.set("first", b"x")
    nursery.start_soon(quick.serve, lambda: None)
    await trio.testing.wait_all_tasks_blocked()
    await quick.read("first", 0, 1, if_match=None)
    yield quick
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("key", ["a", "d/deep/b", "sp ace", "ümläut", "per%cent"])
async def test_it_brings_what_a_read_brings(backend, quick, key):
    backend.set(key, DATA)
    etag = (await quick.stat(key)).etag
    for start, length in [(0, len(DATA)), (0, 1), (1000, 70_000), (199_999, 1), (199_000, 5000)]:
        chunk = await begun(quick, key, start, length, if_match=etag)
        assert chunk == await quick.read(key, start, length, if_match=etag)
        assert bytes(chunk.data) == DATA[start : start + length]


async def test_another_version_and_nothing_are_for_the_ordinary_way(backend, quick):
    backend.set("a", b"old")
    etag = (await quick.stat("a")).etag
    backend.set("a", b"new")
    assert await begun(quick, "a", 0, 3, if_match=etag) is None
    await quick.read("first", 0, 1, if_match=None)
    backend.delete("a")
    assert await begun(quick, "a", 0, 3, if_match=etag) is None


@pytest.mark.parametrize("key", ["", "a//b", "/a", "a/.", "a/../b", "dir/"])
async def test_odd_names_do_no_harm(quick, key):
    assert await begun(quick, key, 0, 1, if_match=None) in ("no", None)


async def test_through_what_is_put_around_it(backend, quick, nursery):
    """A guard, a single object, a dataset."""
    backend.set("d/a", DATA)
    backend.set("d/b", b"b")
    etag = (await quick.stat("d/a")).etag
    dataset = await dataset_store(spec_of("d"), quick)
    guarded = GuardedStore(dataset, RetryPolicy())
    single = SingleObjectStore(guarded, "a")
    guards = [(guarded, "a"), (single, "a")]
    for store, key in guards:
        chunk = await begun(store, key, 0, len(DATA), if_match=etag)
        assert bytes(chunk.data) == DATA
        assert await begun(store, "c", 0, 1, if_match=etag) == "no"
    assert guarded.calls == {"read": 2}
    assert await begun(dataset, "a", 0, 1, if_match='"another"') == "no"
    backend.set("d/a", DATA[1:])
    assert await begun(guarded, "a", 0, len(DATA), if_match=etag) is None
