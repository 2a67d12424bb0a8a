"""The memory tier: what it fetches before it is asked for."""

import random

import pytest
import trio
import trio.testing

from mountd.cache.block_cache import IN_TURN, BlockCache
from mountd.errors import UnavailableError
from mountd.units import KIB, MIB
from tests.support.remote_versions import a_version


async def test_a_scan_is_ahead_of_its_reader(autojump_clock, make_cache, remote):
    """16 MiB a second are read, a request takes a second: with a window of 16 MiB or more nobody waits in the end."""
    cache = make_cache(256 * MIB)
    found = cache.acquire(a_version(256 * MIB))
    zeros = bytes(found.version.size)
    remote.bytes_of = lambda version: zeros
    waits = []
    for at in range(0, 256 * MIB, MIB):
        start = trio.current_time()
        await cache.read(found, at, at + MIB)
        waits.append(trio.current_time() - start)
        await trio.sleep(1 / 16)
    assert sum(waits[64:]) == pytest.approx(0)
    assert remote.bytes_fetched() == 256 * MIB


async def test_a_read_across_two_held_extents_is_no_stall(autojump_clock, make_cache, remote):
    cache = make_cache(256 * MIB)
    found = cache.acquire(a_version(256 * MIB))
    zeros = bytes(found.version.size)
    remote.bytes_of = lambda version: zeros
    remote.takes_s = 0
    for at in range(0, 128 * MIB, 300 * KIB):
        await cache.read(found, at, at + 300 * KIB)
        await trio.sleep(1)
    assert max(found.readahead.windows) <= 16 * MIB


async def test_random_reads_fetch_what_they_ask_for(autojump_clock, make_cache, remote):
    cache = make_cache(64 * MIB)
    found = cache.acquire(a_version(1024 * MIB))
    zeros = bytes(1024 * MIB)
    remote.bytes_of = lambda version: zeros
    remote.takes_s = 0.01
    draw = random.Random(5)

    async def reader():
        for _ in range(60):
            at = draw.randrange(0, 1024 * MIB - 64 * KIB, 64 * KIB)
            await cache.read(found, at, at + 64 * KIB)

    async with trio.open_nursery() as readers:
        for _ in range(16):
            readers.start_soon(reader)
    await trio.sleep(1)
    assert remote.bytes_fetched() <= 1.5 * 16 * 60 * 64 * KIB


async def test_what_is_needed_first_is_asked_for_first(make_cache, remote):
    """trio runs the tasks of one turn in any order; so it is done a few times."""
    remote.takes_s = 0
    for number in range(20):
        cache = make_cache(64 * MIB)
        found = cache.acquire(a_version(32 * MIB, f"file{number}"))
        before = len(remote.fetched)
        assert cache.read_nowait(found, 0, MIB) is None
        await trio.testing.wait_all_tasks_blocked()
        starts = [wanted.start for _, wanted in remote.fetched[before:]]
        assert len(starts) > 2 + IN_TURN
        assert starts[: 1 + IN_TURN] == sorted(starts)[: 1 + IN_TURN]
        cache.release(found)


async def test_parts_that_were_to_come_are_an_error_for_who_waits_when_the_mount_ends(autojump_clock, remote):
    async with trio.open_nursery() as outer:
        failed = []

        async with trio.open_nursery() as owner:
            cache = remote.cache = BlockCache(remote, owner, limit_bytes=64 * MIB)
            found = cache.acquire(a_version(32 * MIB))
            assert cache.read_nowait(found, 0, MIB) is None

            async def wait_for(start):
                try:
                    await cache.collect(found, start, start + MIB)
                except UnavailableError:
                    failed.append(start)

            for extent in found.extents.within(0, found.version.size):
                outer.start_soon(wait_for, extent.start)
            owner.cancel_scope.cancel()
            await trio.lowlevel.checkpoint_if_cancelled()
        with trio.fail_after(1):
            await trio.testing.wait_all_tasks_blocked()
        assert len(failed) > 4
        outer.cancel_scope.cancel()
    assert cache.budget.used == 0
