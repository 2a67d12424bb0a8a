"""`aio.precedence`: a few at a time, the most urgent first."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from mountd.aio.precedence import Precedence


def crowded(places: int) -> Precedence:
    """Return one that more want to take places of than there are."""
    precedence = Precedence(places)
    for _ in range(places + 1):
        precedence.enter()
    return precedence


async def has_a_free_place(precedence: Precedence) -> bool:
    with trio.move_on_after(0.05) as waiting:
        await precedence.take(2)
    return not waiting.cancelled_caught


async def test_nobody_waits_while_there_is_a_place() -> None:
    precedence = Precedence(2)
    for _ in range(3):
        assert await has_a_free_place(precedence)
        assert await has_a_free_place(precedence)
        assert not await has_a_free_place(precedence)
        precedence.leave()
        precedence.leave()


@pytest.mark.parametrize("places", [1, 2, 4])
async def test_of_those_who_come_in_one_turn_the_most_urgent_have_the_places(places: int) -> None:
    for _ in range(20):  # trio throws a coin for the order of each turn
        precedence = crowded(places)
        went: list[int] = []

        async def goes_in(key: int, precedence: Precedence = precedence, went: list[int] = went) -> None:
            await precedence.take(key)
            went.append(key)

        async with trio.open_nursery() as nursery:
            for key in (5, 3, 9, 1, 7, 2):
                nursery.start_soon(goes_in, key)
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(went) == [1, 2, 3, 5, 7, 9][:places]
            for _ in range(6 - places):
                precedence.leave()


async def test_who_leaves_while_others_come_leaves_a_place_to_the_most_urgent_of_them() -> None:
    precedence = crowded(2)
    await precedence.take(0)
    went: list[int] = []

    async def goes_in(key: int) -> None:
        await precedence.take(key)
        went.append(key)

    async with trio.open_nursery() as nursery:
        for key in (4, 3, 2, 1):
            nursery.start_soon(goes_in, key)
        await trio.lowlevel.checkpoint()  # they have come, or do so just now
        precedence.leave()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(went) == [1, 2]
        precedence.leave()
        precedence.leave()


async def test_the_most_urgent_goes_first_and_the_older_of_two_alike() -> None:
    precedence = Precedence(1)
    await precedence.take(0)
    log: list[tuple[int, int]] = []

    async def one_turn(key: int, number: int) -> None:
        await precedence.take(key)
        log.append((key, number))
        precedence.leave()

    async with trio.open_nursery() as nursery:
        for number, key in enumerate((5, 1, 3, 1)):
            nursery.start_soon(one_turn, key, number)
            await trio.testing.wait_all_tasks_blocked()
        assert log == []
        precedence.leave()
    assert log == [(1, 1), (1, 3), (3, 2), (5, 0)]


@pytest.mark.parametrize("make", [Precedence, crowded])
async def test_never_more_than_the_places(make: Callable[[int], Precedence]) -> None:
    precedence = make(3)
    inside, most = 0, 0

    async def goes_in_and_out(key: int) -> None:
        nonlocal inside, most
        for _ in range(5):
            await precedence.take(key)
            inside += 1
            most = max(most, inside)
            await trio.lowlevel.checkpoint()
            inside -= 1
            precedence.leave()

    async with trio.open_nursery() as nursery:
        for key in range(10):
            nursery.start_soon(goes_in_and_out, key)
    assert (inside, most) == (0, 3)


async def test_who_is_cancelled_leaves_the_line() -> None:
    precedence = Precedence(1)
    await precedence.take(0)
    with trio.move_on_after(0.01) as given_up:
        await precedence.take(1)
    assert given_up.cancelled_caught
    precedence.leave()
    assert await has_a_free_place(precedence)


async def test_a_place_that_is_given_in_the_moment_of_a_cancellation_is_had() -> None:
    precedence = Precedence(1)
    await precedence.take(0)
    had = False
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def waits() -> None:
                nonlocal had
                await precedence.take(1)
                had = True
                precedence.leave()

            nursery.start_soon(waits)
            await trio.testing.wait_all_tasks_blocked()
            precedence.leave()
            scope.cancel()
    assert had
    assert await has_a_free_place(precedence)


async def test_who_is_cancelled_as_it_comes_leaves_no_place_taken() -> None:
    precedence = crowded(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await precedence.take(1)  # a free place is had all the same, and left by who has it
        precedence.leave()
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert await has_a_free_place(precedence)
    with trio.CancelScope() as scope:
        scope.cancel()
        await precedence.take(1)
    assert scope.cancelled_caught
    precedence.leave()
    assert await has_a_free_place(precedence)


async def test_nobody_is_waited_for_where_there_are_places_for_all() -> None:
    precedence = Precedence(2)
    precedence.enter()
    precedence.enter()
    for _ in range(3):
        with trio.testing.assert_no_checkpoints():
            await precedence.take(1)
            await precedence.take(1)
        precedence.leave()
        precedence.leave()
    precedence.enter()
    with pytest.raises(AssertionError), trio.testing.assert_no_checkpoints():
        await precedence.take(1)
    precedence.leave()
    precedence.exit()
    with trio.testing.assert_no_checkpoints():
        await precedence.take(1)
