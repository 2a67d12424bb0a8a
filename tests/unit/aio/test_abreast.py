"""Requests for later: many where they do not wait for each other, few where they do."""

import pytest
import trio

from mountd.aio.abreast import FIRST, MOST, Abreast

ALONE_S = 0.015


async def driven(abreast, takes_s, count=2000):
    """Keep as many under way as there are places for; return the longest that one took and how many there were."""
    longest, most = 0.0, 0
    ended = trio.Event()

    async def one(began):
        nonlocal longest, ended
        await trio.sleep(takes_s(abreast.under_way))
        longest = max(longest, trio.current_time() - began)
        abreast.end(began)
        ended.set()
        ended = trio.Event()

    async with trio.open_nursery() as nursery:
        for number in range(count):
            while not abreast.has_place:
                await ended.wait()
            nursery.start_soon(one, abreast.begin())
            if number > count // 2:
                most = max(most, abreast.under_way)
    return longest, most


async def test_a_wide_link_takes_the_most_and_never_more(autojump_clock):
    _, most = await driven(Abreast(lambda: ALONE_S), lambda _: ALONE_S)
    assert most == MOST


@pytest.mark.parametrize("alone_s", [0.1, 0.5, 10.0])
async def test_on_a_narrow_link_no_more_are_under_way_than_end_soon(autojump_clock, alone_s):
    """Each takes 0.1 s of the link, whatever was measured."""
    longest, most = await driven(Abreast(lambda: alone_s), lambda under_way: 0.1 * under_way)
    assert most <= 9
    assert longest <= 0.1 * FIRST


async def test_a_store_that_throttles_is_asked_for_one_at_a_time_and_for_more_when_it_is_well(autojump_clock):
    abreast = Abreast(lambda: ALONE_S)
    assert (await driven(abreast, lambda _: 1.0, 100))[1] == 1
    assert (await driven(abreast, lambda _: ALONE_S))[1] == MOST
