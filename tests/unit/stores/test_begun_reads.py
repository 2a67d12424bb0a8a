"""Reads that are begun without a task, and go on as the same call where they bring nothing; in virtual time."""

import pytest
import trio
import trio.testing

from mountd.aio.retry import RetryPolicy
from mountd.errors import DeadlineError, UnavailableError
from mountd.stores.base import Chunk, Missed
from mountd.stores.guarded import GuardedStore
from mountd.stores.memory import MemoryStore
from mountd.units import ETag
from tests.support.failing_store import failing
from tests.support.quick_store import QuickStore

POLICY = RetryPolicy(deadline_s=60, first_pause_s=1, longest_pause_s=8)


@pytest.fixture
def inner():
    store = MemoryStore()
    store.set("a", b"0123456789")
    return store


class Begun:
    """A guarded store that serves, and what came of the reads that were begun."""

    def __init__(self, inner, nursery, *, accepts=lambda: True, policy=POLICY):
        self.quick = QuickStore(inner, accepts)
        self.store = GuardedStore(self.quick, policy)
        self.came = []
        """Chunks; None where nothing was brought."""
        nursery.start_soon(self.store.serve)

    def begin(self, if_match=None, length=4):
        return self.store.begin_read("a", 2, length, if_match=if_match, done=self._done)

    def _done(self, chunk):
        self.came.append(None if isinstance(chunk, Missed) else chunk)


async def test_a_read_that_is_begun_is_checked_counted_and_seen_like_others(inner, nursery, autojump_clock):
    async def slow(method, key):
        await trio.sleep(2.5)

    begun = Begun(inner, nursery)
    await trio.testing.wait_all_tasks_blocked()
    inner.on_call = slow
    store, etag = begun.store, inner._find("a").info.etag
    assert begun.begin(etag)
    await trio.sleep(2)
    assert (begun.came, store.slow_now()) == ([], ["read a for 2.0 s"])
    await trio.sleep(1)
    [chunk] = begun.came
    assert (bytes(chunk.data), chunk.etag) == (b"2345", etag)
    assert (store.calls, store.requests, store.retries, store.errors) == ({"read": 1}, 1, 0, 0)
    assert (store.bytes_read, store.in_flight()) == (4, [])
    assert begun.begin(etag, length=100)
    await trio.sleep(3)
    assert bytes(begun.came[1].data) == b"23456789"


@pytest.mark.parametrize(
    "wrong", [Chunk(memoryview(b"234"), ETag('"e"'), 10), Chunk(memoryview(b"2345"), ETag('"other"'), 10)]
)
async def test_a_read_that_is_begun_believes_nothing(inner, nursery, monkeypatch, wrong):
    begun = Begun(inner, nursery)
    await trio.testing.wait_all_tasks_blocked()

    async def read(*_, **__):
        return wrong

    monkeypatch.setattr(inner, "read", read)
    assert begun.begin(ETag('"e"'))
    await trio.testing.wait_all_tasks_blocked()
    assert begun.came == [None]
    assert begun.store.bytes_read == 0


async def test_what_a_begun_read_did_not_bring_the_ordinary_one_does_as_the_same_call(inner, nursery, autojump_clock):
    begun = Begun(inner, nursery)
    await trio.testing.wait_all_tasks_blocked()
    failing(inner, UnavailableError("no"))
    assert begun.begin()
    await trio.testing.wait_all_tasks_blocked()
    assert begun.came == [None]
    assert bytes((await begun.store.read("a", 2, 4, if_match=None)).data) == b"2345"
    assert (begun.store.calls, begun.store.requests, begun.store.retries) == ({"read": 1}, 2, 1)
    await begun.store.read("a", 2, 4, if_match=None)
    assert (begun.store.calls, begun.store.requests, begun.store.retries) == ({"read": 2}, 3, 1)


async def test_the_deadline_counts_from_when_a_read_was_begun(inner, nursery, autojump_clock):
    async def silent(method, key):
        await trio.sleep_forever()

    begun = Begun(inner, nursery)
    await trio.testing.wait_all_tasks_blocked()
    inner.on_call = silent
    started = trio.current_time()
    assert begun.begin()
    await trio.sleep(20.5)
    assert begun.came == [None]
    with pytest.raises(DeadlineError):
        await begun.store.read("a", 2, 4, if_match=None)
    assert trio.current_time() - started == pytest.approx(60, abs=0.1)


async def test_a_begun_read_that_nobody_went_on_with_shortens_no_later_one(inner, nursery, autojump_clock):
    begun = Begun(inner, nursery)
    await trio.testing.wait_all_tasks_blocked()
    failing(inner, UnavailableError("no"))
    assert begun.begin()
    await trio.sleep(50)
    failing(inner, *[UnavailableError("no")] * 5)
    assert bytes((await begun.store.read("a", 2, 4, if_match=None)).data) == b"2345"
    assert begun.store.calls == {"read": 2}


async def test_a_store_that_cannot_begin_refuses(inner, nursery):
    store = GuardedStore(inner, POLICY)
    assert not store.begin_read("a", 0, 1, if_match=None, done=[].append)
    await store.serve()
    begun = Begun(inner, nursery, accepts=lambda: False)
    await trio.testing.wait_all_tasks_blocked()
    assert not begun.begin()
    assert (begun.store.calls, begun.store.requests, begun.store.in_flight()) == ({}, 0, [])


class Scripted(MemoryStore):
    """Begins every read and calls back when it is told to."""

    def __init__(self):
        super().__init__()
        self.set("a", b"0123456789")
        self.begun = []

    def begin_read(self, key, start, length, *, if_match, done):
        self.begun.append(done)
        return True

    async def serve(self, _moved):
        await trio.sleep_forever()


async def test_a_begun_read_that_got_on_for_long_has_its_tries_when_it_breaks(autojump_clock):
    """The deadline counts from the last progress, whoever saw it."""
    inner = Scripted()
    store = GuardedStore(inner, POLICY)
    assert store.begin_read("a", 2, 4, if_match=None, done=lambda _: None)
    await trio.sleep(500)
    inner.begun[0](Missed(trio.current_time() - 1))
    assert bytes((await store.read("a", 2, 4, if_match=None)).data) == b"2345"
    assert (store.calls, store.requests) == ({"read": 1}, 2)


async def test_a_begun_read_that_was_throttled_waits_as_long_as_the_store_asked_for(autojump_clock):
    inner = Scripted()
    store = GuardedStore(inner, POLICY)
    assert store.begin_read("a", 2, 4, if_match=None, done=lambda _: None)
    inner.begun[0](Missed(trio.current_time(), UnavailableError("slow down", retry_after_s=7.0)))
    before = trio.current_time()
    assert bytes((await store.read("a", 2, 4, if_match=None)).data) == b"2345"
    assert trio.current_time() - before >= 7
    assert (store.calls, store.requests, store.retries) == ({"read": 1}, 2, 1)
