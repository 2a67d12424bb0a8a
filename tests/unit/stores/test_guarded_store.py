"""Retries, deadlines, checks and counters around a store, in virtual time."""

from dataclasses import replace

import pytest
import trio

from mountd.aio.retry import RetryPolicy
from mountd.errors import (
    ChangedError,
    CorruptError,
    DeadlineError,
    DeniedError,
    ExistsError,
    NonsenseError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
)
from mountd.stores.base import Chunk
from mountd.stores.guarded import GuardedStore
from mountd.stores.memory import MemoryStore
from mountd.units import ETag
from tests.support.failing_store import failing

POLICY = RetryPolicy(deadline_s=60, first_pause_s=1, longest_pause_s=8)


@pytest.fixture
def inner():
    store = MemoryStore(part_bytes=4)
    store.set("a", b"0123456789")
    return store


@pytest.fixture
def store(inner):
    return GuardedStore(inner, POLICY)


CALLS = {
    "list_page": lambda store: store.list_page(""),
    "walk_page": lambda store: store.walk_page(""),
    "stat": lambda store: store.stat("a"),
    "is_directory": lambda store: store.is_directory("a"),
    "read": lambda store: store.read("a", 0, 4, if_match=None),
    "put": lambda store: store.put("b", memoryview(b"x")),
    "begin_upload": lambda store: store.begin_upload("b", 4),
}


@pytest.mark.parametrize("call", list(CALLS))
async def test_every_call_is_tried_again_and_counted(inner, store, call, autojump_clock):
    failing(inner, UnavailableError("one"), CorruptError("two"))
    await CALLS[call](store)
    assert (store.requests, store.retries, store.errors) == (3, 2, 0)
    assert store.in_flight() == []


@pytest.mark.parametrize("call", list(CALLS))
async def test_a_call_that_gets_no_answer_ends_at_its_deadline(inner, store, call, autojump_clock):
    async def hang(method, key):
        await trio.sleep_forever()

    inner.on_call = hang
    started = trio.current_time()
    with pytest.raises(DeadlineError, match="memory/"):
        await CALLS[call](store)
    assert trio.current_time() - started == pytest.approx(60)
    assert store.errors == 1
    assert store.in_flight() == []


async def test_the_deadline_is_for_all_tries_together_and_names_the_last_failure(inner, store, autojump_clock):
    async def fail(method, key):
        raise UnavailableError("the link is cut")

    inner.on_call = fail
    started = trio.current_time()
    with pytest.raises(DeadlineError, match=r"read memory/a: gave up after .* the link is cut"):
        await store.read("a", 0, 1, if_match=None)
    assert trio.current_time() - started <= 60
    assert store.retries >= 6


async def test_an_address_where_nothing_ever_answered_is_given_up_sooner(inner, caplog, autojump_clock):
    async def refuse(method, key):
        raise UnreachableError(f"{method} memory/{key}: cannot reach host:1: it refuses connections")

    inner.on_call = refuse
    store = GuardedStore(inner, replace(POLICY, unreached_s=10))
    started = trio.current_time()
    with pytest.raises(DeadlineError, match=r"stat memory/a: gave up after [12][0-9] tries: .* it refuses connections"):
        await store.stat("a")
    assert 9 <= trio.current_time() - started <= 10
    (warning,) = caplog.messages  # at the first failure, and once
    assert warning == "stat memory/a: cannot reach host:1: it refuses connections; trying again"

    inner.on_call = None
    await store.stat("a")
    inner.on_call = refuse  # what has answered before is an outage
    caplog.clear()
    started = trio.current_time()
    with pytest.raises(DeadlineError):
        await store.stat("a")
    assert 45 < trio.current_time() - started <= 60
    assert 1 <= len(caplog.messages) <= 2


async def test_who_never_made_sense_is_given_up_sooner_than_who_stopped_making_it(inner, store, autojump_clock):
    async def answer_nonsense(method, key):
        raise NonsenseError("the listing cannot be understood")

    async def deny_it_exists(method, key):
        raise NotFoundError("there is none")

    inner.on_call = answer_nonsense
    started = trio.current_time()
    with pytest.raises(DeadlineError, match="after 6 tries: the listing"):
        await store.stat("a")
    assert trio.current_time() - started < 30

    inner.on_call = deny_it_exists  # that is sense
    with pytest.raises(NotFoundError):
        await store.stat("a")
    inner.on_call = answer_nonsense  # a page of a proxy in maintenance, for one
    started = trio.current_time()
    with pytest.raises(DeadlineError, match="the listing"):
        await store.stat("a")
    assert 45 < trio.current_time() - started <= 60


async def test_a_short_trouble_is_no_warning(inner, store, caplog, autojump_clock):
    await store.stat("a")
    failing(inner, UnavailableError("busy"), UnavailableError("busy"))
    await store.stat("a")
    assert caplog.messages == []


async def test_what_the_store_asks_for_is_waited(inner, store, autojump_clock):
    failing(inner, UnavailableError("slow down", retry_after_s=17))
    started = trio.current_time()
    await store.stat("a")
    assert trio.current_time() - started >= 17


@pytest.mark.parametrize(
    "error", [DeniedError("no"), NotFoundError("none"), ChangedError("other"), ExistsError("taken")]
)
async def test_a_plain_no_is_not_tried_again(inner, store, error):
    failing(inner, error)
    with pytest.raises(type(error)):
        await store.stat("a")
    assert store.requests == 1
    assert store.errors == (1 if isinstance(error, DeniedError) else 0)


async def test_bytes_are_counted(store):
    await store.read("a", 0, 4, if_match=None)
    await store.read("a", 8, 40, if_match=None)
    await store.put("b", memoryview(b"xyz"))
    upload = await store.begin_upload("c", 6)
    await upload.part(0, memoryview(b"1234"))
    await upload.part(4, memoryview(b"56"))
    await upload.commit(6)
    assert store.bytes_read == 6
    assert store.bytes_written == 9
    assert store.calls == {"read": 2, "write": 5}


async def test_parts_and_commit_are_tried_again(inner, store, autojump_clock):
    upload = await store.begin_upload("c", 4)
    failing(inner, UnavailableError("one"), UnavailableError("two"))
    await upload.part(0, memoryview(b"1234"))
    failing(inner, UnavailableError("three"))
    assert (await upload.commit(4)).size == 4
    assert store.retries == 3


class Liar(MemoryStore):
    """Answers reads with what it was told to."""

    def __init__(self, *lies):
        super().__init__()
        self.truth = self.set("a", b"0123456789")
        self.lies = list(lies)

    async def read(self, key, start, length, *, if_match):
        if self.lies:
            data, etag, size = self.lies.pop(0)
            return Chunk(memoryview(data), etag or self.truth.etag, size)
        return await super().read(key, start, length, if_match=if_match)


@pytest.mark.parametrize("data", [b"", b"012", b"01234"])
async def test_an_answer_of_the_wrong_length_is_asked_for_again(data, autojump_clock):
    liar = Liar((data, None, 10))
    store = GuardedStore(liar, POLICY)
    chunk = await store.read("a", 0, 4, if_match=liar.truth.etag)
    assert bytes(chunk.data) == b"0123"
    assert store.retries == 1


async def test_a_store_that_goes_on_lying_is_corrupt(autojump_clock):
    store = GuardedStore(Liar(*[(b"012", None, 10)] * 100), POLICY)
    with pytest.raises(DeadlineError, match="3 bytes came, not the 4 at 0"):
        await store.read("a", 0, 4, if_match=None)


async def test_another_version_than_asked_for_never_gets_out():
    liar = Liar((b"0123", ETag('"other"'), 10))
    store = GuardedStore(liar, POLICY)
    with pytest.raises(ChangedError):
        await store.read("a", 0, 4, if_match=liar.truth.etag)
    liar.lies.append((b"0123", ETag('"other"'), 10))
    assert (await store.read("a", 0, 4, if_match=None)).etag == '"other"'


async def test_a_short_answer_at_the_end_is_right():
    store = GuardedStore(Liar(), POLICY)
    assert bytes((await store.read("a", 8, 10, if_match=None)).data) == b"89"
    assert bytes((await store.read("a", 10, 10, if_match=None)).data) == b""
    assert bytes((await store.read("a", 99, 10, if_match=None)).data) == b""


class LosesAnswers(MemoryStore):
    """Writes, and then fails as if only the answer was lost."""

    def __init__(self, losses):
        super().__init__()
        self.losses = losses

    async def put(self, key, data, *, overwrite=True):
        info = await super().put(key, data, overwrite=overwrite)
        if self.losses:
            self.losses -= 1
            raise UnavailableError("reset")
        return info


async def test_a_write_that_succeeded_and_lost_its_answer_has_succeeded(autojump_clock):
    inner = LosesAnswers(1)
    store = GuardedStore(inner, POLICY)
    info = await store.put("new", memoryview(b"mine"), overwrite=False)
    assert info == await inner.stat("new")


@pytest.mark.parametrize("theirs", [b"theirs", b"thei"])
async def test_somebody_elses_object_is_not_taken_for_ours(inner, store, theirs, autojump_clock):
    failing(inner, UnavailableError("reset"))
    inner.set("new", theirs)
    with pytest.raises(ExistsError):
        await store.put("new", memoryview(b"mine"), overwrite=False)


async def test_what_is_slow_now_can_be_seen(inner, store, autojump_clock):
    async def wait(method, key):
        await trio.sleep(10)

    inner.on_call = wait
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.stat, "a")
        await trio.sleep(2)
        nursery.start_soon(store.list_page, "")
        await trio.sleep(0.5)
        assert store.slow_now() == ["stat a for 2.5 s"]
        assert [(call.operation, call.name, call.tries) for call in store.in_flight()] == [
            ("stat", "a", 1),
            ("list", "", 1),
        ]
        await trio.sleep(1)
        assert store.slow_now() == ["stat a for 3.5 s", "list / for 1.5 s"]
    assert store.slow_now() == []


async def test_tries_are_part_of_what_is_slow(inner, store, autojump_clock):
    failing(inner, *[UnavailableError("no")] * 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.stat, "a")
        await trio.sleep(2.4)
        [line] = store.slow_now()
        assert line.startswith("stat a for 2.4 s, try ")


async def test_a_cancelled_call_is_no_error_and_leaves_nothing(inner, store):
    async def wait(method, key):
        await trio.sleep_forever()

    inner.on_call = wait
    with trio.move_on_after(0.01):
        await store.stat("a")
    assert store.errors == 0
    assert store.in_flight() == []
