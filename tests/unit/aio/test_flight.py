"""Single flight: one call for all who ask, whoever goes away."""

import pytest
import trio
import trio.testing

from mountd.aio.flight import SingleFlight
from mountd.errors import MountdError, NotFoundError


class Answers:
    """A call that counts itself and answers after `takes_s`."""

    def __init__(self, takes_s=1.0, error=None):
        self.calls = 0
        self.cancelled = 0
        self._takes_s = takes_s
        self._error = error

    async def __call__(self):
        self.calls += 1
        number = self.calls
        try:
            await trio.sleep(self._takes_s)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        if self._error is not None:
            raise self._error
        return number


async def test_one_call_answers_all_who_ask_meanwhile(autojump_clock, nursery):
    flights = SingleFlight(nursery)
    call = Answers()
    got = []

    async def ask(after_s):
        await trio.sleep(after_s)
        got.append(await flights.run("k", call))

    async with trio.open_nursery() as askers:
        for after_s in (0, 0.25, 0.5, 0.75):
            askers.start_soon(ask, after_s)
    assert got == [1, 1, 1, 1]
    assert call.calls == 1
    assert len(flights) == 0


async def test_whoever_asks_after_the_answer_gets_a_new_call(autojump_clock, nursery):
    flights = SingleFlight(nursery)
    call = Answers()
    assert await flights.run("k", call) == 1
    assert await flights.run("k", call) == 2


async def test_keys_do_not_know_each_other(autojump_clock, nursery):
    flights = SingleFlight(nursery)
    start = trio.current_time()
    async with trio.open_nursery() as askers:
        for key in range(10):
            askers.start_soon(flights.run, key, Answers())
        await trio.testing.wait_all_tasks_blocked()
        assert len(flights) == 10
    assert trio.current_time() - start == pytest.approx(1)


@pytest.mark.parametrize("first_leaves", [True, False])
async def test_who_is_cancelled_leaves_alone(autojump_clock, nursery, first_leaves):
    flights = SingleFlight(nursery)
    call = Answers(takes_s=10)
    got = []

    async def impatient():
        with trio.move_on_after(1):
            await flights.run("k", call)
            got.append("impatient")
        assert trio.current_time() == pytest.approx(start + 1)

    async def patient():
        got.append(await flights.run("k", call))

    start = trio.current_time()
    async with trio.open_nursery() as askers:
        for ask in (impatient, patient) if first_leaves else (patient, impatient):
            askers.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
    assert got == [1]
    assert (call.calls, call.cancelled) == (1, 0)


async def test_the_call_is_finished_even_if_all_left(autojump_clock, nursery):
    flights = SingleFlight(nursery)
    call = Answers(takes_s=10)
    with trio.move_on_after(1):
        await flights.run("k", call)
    assert len(flights) == 1
    assert await flights.run("k", call) == 1, "a latecomer gets the call that is under way"
    assert call.cancelled == 0


async def test_an_error_reaches_all_and_is_not_remembered(autojump_clock, nursery):
    flights = SingleFlight(nursery)
    call = Answers(error=NotFoundError("gone"))
    failed = []

    async def ask():
        try:
            await flights.run("k", call)
        except NotFoundError as error:
            failed.append(error)

    async with trio.open_nursery() as askers:
        for _ in range(3):
            askers.start_soon(ask)
    assert len(failed) == 3
    assert call.calls == 1
    call._error = None
    assert await flights.run("k", call) == 2


async def test_an_error_nobody_waits_for_harms_nobody(autojump_clock, nursery):
    flights = SingleFlight(nursery)
    with trio.move_on_after(0.5):
        await flights.run("k", Answers(error=NotFoundError("gone")))
    await trio.sleep(5)
    assert len(flights) == 0


async def test_waiters_get_an_error_when_the_owner_closes(autojump_clock):
    """One of ours: whatever leaves a store or a tree has an errno."""
    outcome = []

    async def ask(flights):
        try:
            await flights.run("k", Answers(takes_s=100))
        except MountdError as error:
            outcome.append(error)

    async with trio.open_nursery() as askers, trio.open_nursery() as owner:
        flights = SingleFlight(owner)
        askers.start_soon(ask, flights)
        await trio.testing.wait_all_tasks_blocked()
        owner.cancel_scope.cancel()
    assert len(outcome) == 1
    assert len(flights) == 0


async def test_nobody_waits_for_an_owner_that_is_gone(autojump_clock):
    async with trio.open_nursery() as owner:
        flights = SingleFlight(owner)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"), trio.fail_after(1):
            await flights.run("k", Answers())
    assert len(flights) == 0
