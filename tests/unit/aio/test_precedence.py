"""`aio.precedence`: a few at a time, the most urgent first."""

import trio
import trio.testing

from mountd.aio.precedence import Precedence


async def test_nobody_waits_while_there_is_a_place() -> None:
    precedence = Precedence(2)
    for _ in range(3):
        with trio.testing.assert_no_checkpoints():
            await precedence.take(1)
            await precedence.take(1)
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


async def test_never_more_than_the_places() -> None:
    precedence = Precedence(3)
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
    with trio.testing.assert_no_checkpoints():
        await precedence.take(2)


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
    with trio.testing.assert_no_checkpoints():
        await precedence.take(2)
