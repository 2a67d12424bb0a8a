"""Retries: which failures, how long in between, for how long in all."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from mountd.aio.retry import NONSENSE_TRIES, RetryPolicy, retrying
from mountd.errors import (
    CorruptError,
    DeadlineError,
    DeniedError,
    NonsenseError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
)

POLICY = RetryPolicy(deadline_s=60, first_pause_s=0.1, longest_pause_s=8)


class Attempts:
    """A call that fails a given number of times before it succeeds, and notes when it was made."""

    def __init__(self, *failures):
        self._failures = list(failures)
        self.times = []

    async def __call__(self):
        self.times.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self._failures:
            raise self._failures.pop(0)
        return "done"


@given(
    failures=st.integers(1, 500),
    draw=st.floats(0, 1, exclude_max=True),
    asked=st.none() | st.floats(0, 1000),
    first=st.floats(0.001, 10),
    longest=st.floats(0.001, 100),
)
def test_a_pause_lies_between_half_its_ceiling_and_the_ceiling_unless_the_store_asked_for_more(
    failures, draw, asked, first, longest
):
    policy = RetryPolicy(first_pause_s=first, longest_pause_s=longest)
    pause = policy.pause_s(failures, UnavailableError("x", retry_after_s=asked), draw)
    ceiling = min(longest, first * 2.0 ** min(failures - 1, 30))
    assert pause >= ceiling / 2
    assert pause >= (asked or 0)
    assert pause <= max(ceiling, asked or 0)


def test_pauses_double_up_to_the_longest():
    error = UnavailableError("x")
    assert [POLICY.pause_s(n, error, 0.999999) for n in range(1, 10)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8, 8], rel=1e-4
    )


async def test_who_waits_for_a_store_that_is_restarted_goes_on_a_second_after_it_is_back(autojump_clock):
    back_at = trio.current_time() + 40

    async def attempt():
        await trio.lowlevel.checkpoint()
        if trio.current_time() < back_at:
            raise UnreachableError("it refuses connections")
        return "done"

    assert await retrying(attempt, what="x", policy=POLICY) == "done"
    assert trio.current_time() <= back_at + 1


async def test_an_address_where_nobody_listens_is_tried_for_all_of_its_time(autojump_clock):
    began = trio.current_time()
    policy = RetryPolicy(unreached_s=10)

    async def attempt():
        await trio.lowlevel.checkpoint()
        raise UnreachableError("it refuses connections")

    with pytest.raises(DeadlineError, match="refuses"):
        await retrying(attempt, what="x", policy=policy, was_well=lambda _: False)
    assert 9 <= trio.current_time() - began <= 10


async def test_nonsense_in_a_row_is_given_up_within_seconds(autojump_clock):
    attempt = Attempts(*[NonsenseError("html")] * 100)
    with pytest.raises(DeadlineError, match=rf"^x: gave up after {NONSENSE_TRIES} tries: html$"):
        await retrying(attempt, what="x", policy=POLICY, was_well=lambda _: False)
    assert len(attempt.times) == NONSENSE_TRIES
    assert trio.current_time() - attempt.times[0] < 3.2

    mixed = [NonsenseError("html"), NonsenseError("html"), CorruptError("broke off")] * 10
    attempt = Attempts(*mixed)
    with pytest.raises(DeadlineError, match="gave up after"):
        await retrying(attempt, what="x", policy=POLICY, was_well=lambda _: False)
    assert len(attempt.times) > NONSENSE_TRIES

    attempt = Attempts(*[NonsenseError("html")] * 100)  # of who made sense before
    with pytest.raises(DeadlineError, match="gave up after"):
        await retrying(attempt, what="x", policy=POLICY)
    assert len(attempt.times) > NONSENSE_TRIES


async def test_the_first_success_is_the_result(autojump_clock):
    attempt = Attempts(UnavailableError("1"), CorruptError("2"))
    told = []
    assert await retrying(attempt, what="x", policy=POLICY, on_retry=lambda e, p: told.append((str(e), p))) == "done"
    assert [text for text, _ in told] == ["1", "2"]
    gaps = [b - a for a, b in zip(attempt.times, attempt.times[1:], strict=False)]
    assert gaps == pytest.approx([pause for _, pause in told])
    assert 0.05 <= gaps[0] <= 0.1
    assert 0.1 <= gaps[1] <= 0.2


@pytest.mark.parametrize("error", [NotFoundError("x"), DeniedError("x"), DeadlineError("x"), ValueError("x")])
async def test_other_failures_are_not_tried_again(autojump_clock, error):
    attempt = Attempts(error)
    with pytest.raises(type(error)):
        await retrying(attempt, what="x", policy=POLICY)
    assert len(attempt.times) == 1


async def test_the_store_is_left_alone_for_as_long_as_it_asked(autojump_clock):
    attempt = Attempts(UnavailableError("busy", retry_after_s=17), UnavailableError("busy"))
    await retrying(attempt, what="x", policy=POLICY)
    first, second, third = attempt.times
    assert second - first == pytest.approx(17)
    assert third - second < 1


async def test_a_store_that_asks_for_more_than_is_left_is_given_up_at_once(autojump_clock):
    start = trio.current_time()
    busy = UnavailableError("busy", retry_after_s=61)
    with pytest.raises(DeadlineError, match="read a: gave up after 1 tries: busy") as caught:
        await retrying(Attempts(busy), what="read a", policy=POLICY)
    assert caught.value.__cause__ is busy
    assert trio.current_time() == start


async def test_a_store_that_always_fails_is_given_up_at_the_deadline(autojump_clock):
    start = trio.current_time()
    attempt = Attempts(*[UnavailableError("down")] * 1000)
    with pytest.raises(DeadlineError, match=r"list x: gave up after \d+ tries: down"):
        await retrying(attempt, what="list x", policy=POLICY)
    took = trio.current_time() - start
    assert 60 - POLICY.longest_pause_s <= took <= 60
    assert attempt.times[-1] < start + 60


async def test_a_try_that_hangs_ends_at_the_deadline(autojump_clock):
    start = trio.current_time()
    with pytest.raises(DeadlineError, match="stat a: gave up after 60 s: no answer"):
        await retrying(trio.sleep_forever, what="stat a", policy=POLICY)
    assert trio.current_time() - start == pytest.approx(60)


async def test_the_deadline_names_the_last_failure_when_a_later_try_hangs(autojump_clock):
    tries = 0

    async def attempt():
        nonlocal tries
        tries += 1
        if tries == 1:
            raise UnavailableError("503")
        await trio.sleep_forever()

    start = trio.current_time()
    with pytest.raises(DeadlineError, match="gave up after 60 s: 503"):
        await retrying(attempt, what="x", policy=POLICY)
    assert trio.current_time() - start == pytest.approx(60)


async def test_a_timeout_inside_a_try_is_not_the_deadline(autojump_clock):
    """It is the attempt's own, long before ours."""

    async def attempt():
        with trio.fail_after(1):
            await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError):
        await retrying(attempt, what="x", policy=POLICY)
    assert trio.current_time() < 59


@pytest.mark.parametrize("during", ["try", "pause"])
async def test_a_cancelled_caller_leaves_at_once(autojump_clock, during):
    async def attempt():
        if during == "try":
            await trio.sleep_forever()
        raise UnavailableError("busy", retry_after_s=50)

    start = trio.current_time()
    with trio.move_on_after(3) as scope:
        await retrying(attempt, what="x", policy=POLICY)
    assert scope.cancelled_caught
    assert trio.current_time() - start == pytest.approx(3)
