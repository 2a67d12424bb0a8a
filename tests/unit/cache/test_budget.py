"""The budget: never above its limit, first come first served, nobody forgotten."""

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.cache.budget import Budget
from mountd.errors import NoRoomError
from tests.support.virtual_time import run_virtual


class Owner:
    """Gives up bytes in fixed lumps, those marked `dear` only to waiting readers."""

    def __init__(self):
        self.cheap = []
        self.dear = []
        self.asked = []

    def reclaim(self, missing, for_reader):
        self.asked.append((missing, for_reader))
        freed = 0
        for lumps in (self.cheap, self.dear) if for_reader else (self.cheap,):
            while lumps and freed < missing:
                freed += lumps.pop(0)
        return freed


@pytest.fixture
def owner():
    return Owner()


@pytest.fixture
def budget(owner):
    return Budget(100, owner.reclaim)


async def wait_for(budget, count, log, name):
    await budget.charge(count)
    log.append(name)


def test_what_fits_is_charged_and_what_does_not_is_refused(budget):
    assert budget.try_charge(60)
    assert budget.try_charge(40)
    assert not budget.try_charge(1)
    budget.release(40)
    assert budget.try_charge(40)
    assert (budget.used, budget.peak) == (100, 100)


def test_the_owner_is_asked_for_what_is_missing_before_a_refusal(budget, owner):
    budget.try_charge(90)
    owner.cheap = [30]
    assert budget.try_charge(30)
    assert owner.asked == [(20, False)]
    assert budget.used == 90


def test_a_try_takes_nothing_dear(budget, owner):
    budget.try_charge(90)
    owner.dear = [90]
    assert not budget.try_charge(20)
    assert owner.dear == [90]


async def test_a_charge_takes_what_is_dear_before_it_waits(budget, owner):
    budget.try_charge(90)
    owner.dear = [50]
    await budget.charge(60)
    assert budget.used == 100
    assert owner.asked == [(50, True)]


async def test_more_than_the_limit_is_an_error_at_once(budget):
    with pytest.raises(NoRoomError, match="--memory"):
        await budget.charge(101)
    assert (budget.used, budget.waiting) == (0, 0)
    await budget.charge(100)


async def test_waiters_are_served_in_the_order_they_came(budget, nursery):
    log = []
    budget.try_charge(100)
    for name, count in (("big", 80), ("small", 1), ("medium", 30)):
        nursery.start_soon(wait_for, budget, count, log, name)
        await trio.testing.wait_all_tasks_blocked()
    assert budget.waiting == 3
    budget.release(50)
    await trio.testing.wait_all_tasks_blocked()
    assert log == [], "the small one does not overtake the big one"
    budget.release(30)
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["big"]
    budget.release(1)
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["big", "small"]
    budget.release(80)
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["big", "small", "medium"]
    assert budget.used == 100 - 50 - 30 - 1 - 80 + 80 + 1 + 30


async def test_a_try_does_not_overtake_a_waiter(budget, nursery):
    log = []
    budget.try_charge(90)
    nursery.start_soon(wait_for, budget, 50, log, "waiter")
    await trio.testing.wait_all_tasks_blocked()
    assert not budget.try_charge(5)
    budget.release(90)
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["waiter"]
    assert budget.try_charge(5)


async def test_a_cancelled_waiter_leaves_no_charge_and_lets_the_next_one_in(budget, nursery):
    log = []
    budget.try_charge(90)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as waiters:
            waiters.start_soon(wait_for, budget, 50, log, "cancelled")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(wait_for, budget, 10, log, "behind")
            await trio.testing.wait_all_tasks_blocked()
            assert log == []
            scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["behind"]
    assert (budget.used, budget.waiting) == (100, 0)


async def test_what_becomes_reclaimable_later_serves_all_it_can(budget, owner, nursery):
    log = []
    budget.try_charge(100)
    for name in ("a", "b", "c"):
        nursery.start_soon(wait_for, budget, 10, log, name)
        await trio.testing.wait_all_tasks_blocked()
    owner.dear = [10, 10]
    budget.retry_reclaim()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(log) == ["a", "b"]
    assert (budget.used, budget.waiting) == (100, 1)


def test_a_retry_without_waiters_reclaims_nothing(budget, owner):
    budget.try_charge(100)
    owner.cheap = [10]
    budget.retry_reclaim()
    assert owner.cheap == [10]


@settings(max_examples=150)
@given(
    limit=st.integers(1, 50),
    clients=st.lists(
        st.tuples(
            st.integers(0, 5),  # starts at
            st.integers(1, 60),  # wants
            st.integers(0, 5),  # holds for
            st.none() | st.integers(0, 6),  # has patience for
            st.booleans(),  # leaves its bytes to be reclaimed instead of releasing them
        ),
        max_size=25,
    ),
)
def test_any_clients_at_any_time(limit, clients):
    """Never above the limit, in order, everybody served, and all comes back."""

    async def main():
        spare = []
        came = {}
        served = {}

        def reclaim(missing, for_reader):
            freed = 0
            while spare and freed < missing and for_reader:
                freed += spare.pop()
            return freed

        budget = Budget(limit, reclaim)

        def check():
            assert 0 <= budget.used <= budget.peak <= limit

        async def client(number, start, count, hold, patience, leaves):
            await trio.sleep(start)
            if count > limit:
                with pytest.raises(NoRoomError):
                    await budget.charge(count)
                return
            came[number] = len(came)
            with trio.move_on_after(1e9 if patience is None else patience + 0.5) as scope:
                await budget.charge(count)
            check()
            if scope.cancelled_caught:
                return
            served[number] = trio.current_time()
            await trio.sleep(hold)
            if leaves:
                spare.append(count)
                budget.retry_reclaim()
            else:
                budget.release(count)
            check()

        with trio.fail_after(1e6):
            async with trio.open_nursery() as nursery:
                for number, args in enumerate(clients):
                    nursery.start_soon(client, number, *args)
        times = [served[number] for number in sorted(served, key=came.__getitem__)]
        assert times == sorted(times), "served in the order in which they came"
        patient = {n for n, (_, count, _, patience, _) in enumerate(clients) if patience is None and count <= limit}
        assert patient <= served.keys()
        assert budget.waiting == 0
        assert budget.used == sum(spare)

    run_virtual(main)
