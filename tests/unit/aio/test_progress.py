"""A deadline counts from the last progress: what is progress, what is none, and that everything ends."""

import pytest
import trio

from mountd.aio.progress import FRESH_STARTS, LEAST, LEAST_OF_MANY, Progress, current, share_of
from mountd.aio.retry import QUIET_PART, RetryPolicy, retrying
from mountd.aio.turn import Turn
from mountd.errors import CorruptError, DeadlineError
from mountd.stores.guarded import GuardedStore
from mountd.stores.memory import MemoryStore
from mountd.vfs.patience import Patience

POLICY = RetryPolicy(deadline_s=60, first_pause_s=0.1, longest_pause_s=8)
QUIET_S = 60 * QUIET_PART


async def receive(pieces, *, every_s, count=LEAST):
    for _ in range(pieces):
        await trio.sleep(every_s)
        current().moved(count)


async def seconds_until_given_up(attempt, match, policy=POLICY):
    began = trio.current_time()
    with pytest.raises(DeadlineError, match=match):
        await retrying(attempt, what="x", policy=policy)
    return trio.current_time() - began


async def test_a_request_that_gets_on_may_take_any_time(autojump_clock):
    told = []
    await retrying(
        lambda: receive(100, every_s=59), what="x", policy=POLICY, on_progress=lambda: told.append(trio.current_time())
    )
    assert trio.current_time() >= 5900
    assert len(told) == 99  # the last one ends it


async def test_progress_is_not_told_for_every_piece(autojump_clock):
    told = []
    await retrying(lambda: receive(10_000, every_s=0.01), what="x", policy=POLICY, on_progress=lambda: told.append(1))
    assert len(told) <= 100 / QUIET_S


async def test_one_that_drips_is_given_up(autojump_clock):
    took = await seconds_until_given_up(lambda: receive(1000, every_s=10, count=1), "gave up after 60 s: no answer")
    assert took == pytest.approx(60)


async def test_silence_counts_from_the_last_progress(autojump_clock):
    async def attempt():
        await receive(10, every_s=30)
        await trio.sleep_forever()

    took = await seconds_until_given_up(attempt, "gave up after 60 s without progress: too little came")
    assert 360 <= took <= 360 + QUIET_S


async def test_what_breaks_off_for_ever_ends(autojump_clock):
    tries = 0

    async def attempt():
        nonlocal tries
        tries += 1
        await receive(4, every_s=15)
        raise CorruptError("broke off")

    took = await seconds_until_given_up(attempt, "broke off")
    assert took < (FRESH_STARTS + 1) * 70 + 60 + QUIET_S
    assert tries > FRESH_STARTS


async def test_who_waits_for_the_answer_waits_no_longer_for_progress(autojump_clock):
    policy = RetryPolicy(deadline_s=20, in_all_s=20)
    took = await seconds_until_given_up(lambda: receive(100, every_s=5), "gave up after 20 s", policy)
    assert took == pytest.approx(20)


async def test_many_requests_share_what_is_least(autojump_clock):
    inner = MemoryStore()
    inner.set("a", b"1")
    store = GuardedStore(inner, POLICY)
    inner.on_call = lambda _method, _key: receive(10, every_s=50, count=LEAST_OF_MANY)
    async with trio.open_nursery() as nursery:
        for _ in range(LEAST // LEAST_OF_MANY):
            nursery.start_soon(store.stat, "a")
    with pytest.raises(DeadlineError):
        await store.stat("a")  # alone it owes more
    assert share_of(0) == share_of(1) == LEAST
    assert share_of(10**6) == LEAST_OF_MANY


async def test_who_waits_for_a_place_gets_on_as_those_do_who_have_one(autojump_clock):
    inner = MemoryStore()
    for name in "ab":
        inner.set(name, b"1")
    store = GuardedStore(inner, POLICY)
    heard = []
    store.on_progress(lambda: heard.append(trio.current_time()))
    place = trio.Lock()

    async def on_call(_method, _key):
        mine = current()
        mine.waits = place.locked()
        async with place:
            mine.begin()
            await receive(10, every_s=30)

    inner.on_call = on_call
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.stat, "a")
        nursery.start_soon(store.stat, "b")
    assert trio.current_time() >= 600
    assert len(heard) == 18

    async def silent(_method, _key):
        current().waits = True
        await trio.sleep_forever()

    inner.on_call = silent
    began = trio.current_time()
    with pytest.raises(DeadlineError):
        await store.stat("a")
    assert trio.current_time() - began == pytest.approx(60)


async def test_an_operation_waits_while_the_store_sends_and_no_longer(autojump_clock):
    patience = Patience(60.5, lambda: 0)

    async def get_on():
        for _ in range(10):
            await trio.sleep(50)
            patience.put_off()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(get_on)
        began = trio.current_time()
        with pytest.raises(DeadlineError), patience.bound("read", b"f"):
            await trio.sleep_forever()
        assert 560.5 <= trio.current_time() - began <= 565
        with patience.bound("read", b"f"):  # something came: nobody is impatient
            await trio.sleep(50)


def test_who_waits_for_a_turn_gets_on_as_its_holder_does():
    now = 0.0
    holder, waiter = (Progress(clock=lambda: now) for _ in range(2))
    group = [waiter, holder]
    holder.lead(group)
    waiter.lead([holder])  # in a circle
    now = 50.0
    holder.moved(LEAST)
    assert waiter.left_s(60) == 60
    holder.leave(group)
    now = 80.0
    holder.moved(LEAST)
    assert waiter.left_s(60) == 30
    waiter.over = True
    assert waiter.left_s(60) == 0


def test_a_turn_belongs_to_one():
    turn = Turn()
    with turn.taken(0.01) as first, turn.taken(0.01) as second, turn.taken_at_once() as third:
        assert (first, second, third) == (True, False, False)
    with turn.taken_at_once() as again:
        assert again
