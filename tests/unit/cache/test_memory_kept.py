"""The memory tier: what it keeps and what it gives up, within its budget."""

import random

import pytest
import trio
import trio.testing

from mountd.cache.block_cache import SMALLEST_CHARGE, BlockCache
from mountd.errors import NoRoomError, UnavailableError
from mountd.units import KIB, MIB
from tests.support.remote_versions import a_version, content, held_bytes, read_into


async def test_bytes_that_arrive_as_their_reader_gives_up_make_room_for_who_waits(autojump_clock):
    arrival = trio.Event()

    async def fetch(version, wanted):
        await arrival.wait()
        return memoryview(content(version))[wanted.start : wanted.stop]

    for _ in range(20):  # trio runs the tasks of one moment in a random order
        async with trio.open_nursery() as owner:
            cache = BlockCache(fetch, owner, limit_bytes=64 * KIB)
            found, waiting = cache.acquire(a_version(16 * KIB)), cache.acquire(a_version(16 * KIB, "waiting"))
            patience = trio.CancelScope()

            async def give_up(cache=cache, found=found, patience=patience):
                with patience:
                    await cache.read(found, 0, 16 * KIB)

            owner.start_soon(give_up)
            await trio.testing.wait_all_tasks_blocked()
            cache.budget.try_charge(48 * KIB)  # no room but what is on its way
            with trio.fail_after(10):
                async with trio.open_nursery() as readers:
                    readers.start_soon(cache.read, waiting, 0, 16 * KIB)
                    await trio.testing.wait_all_tasks_blocked()
                    assert cache.budget.waiting == 1
                    patience.cancel()
                    arrival.set()
            owner.cancel_scope.cancel()
        arrival = trio.Event()


async def test_a_small_object_counts_for_what_its_python_objects_cost(autojump_clock, make_cache):
    cache = make_cache()
    for number in range(10):
        found = cache.acquire(a_version(10, f"k{number}"))
        await cache.read(found, 0, 10)
        cache.release(found)
    assert cache.budget.used == held_bytes(cache) == 10 * SMALLEST_CHARGE


async def test_memory_below_one_charge_is_an_error_not_a_hang(autojump_clock, make_cache):
    cache = make_cache(SMALLEST_CHARGE - 1)
    found = cache.acquire(a_version(10))
    with pytest.raises(NoRoomError), trio.fail_after(10):
        await cache.read(found, 0, 10)


@pytest.mark.parametrize("limit", [SMALLEST_CHARGE, 64 * KIB, MIB, 4 * MIB])
@pytest.mark.parametrize("readers", [1, 20])
async def test_many_streams_in_a_tiny_budget_all_end_with_the_right_bytes(
    autojump_clock, make_cache, remote, limit, readers
):
    """Windows, parts and even single reads are larger than the memory. `Remote` checks the limit at every fetch."""
    size = 512 * KIB if limit >= 64 * KIB else 64 * KIB
    cache = make_cache(limit)
    draw = random.Random(limit + readers)
    remote.takes_s = lambda version, wanted: draw.choice([0, 0.01, 0.1, 2])

    async def stream(number):
        version = a_version(size, f"k{number % 7}")
        found = cache.acquire(version)
        step = draw.choice([16 * KIB, 128 * KIB, 512 * KIB])
        for at in range(0, size, step):
            data = await cache.read(found, at, min(size, at + step))
            assert data == remote.bytes_of(version)[at : at + step]
            if draw.random() < 0.3:
                await trio.sleep(draw.random())
        cache.release(found)

    with trio.fail_after(100_000):
        async with trio.open_nursery() as nursery:
            for number in range(readers):
                nursery.start_soon(stream, number)
    await trio.sleep(1000)
    assert cache.budget.peak <= limit
    assert cache.budget.waiting == 0
    assert cache.budget.used == held_bytes(cache)


async def test_reads_larger_than_the_memory_do_not_evict_each_other_over_and_over(autojump_clock, make_cache, remote):
    cache = make_cache(64 * KIB)
    versions = [a_version(MIB, f"k{number}") for number in range(6)]
    log = []
    with trio.fail_after(1e5):
        async with trio.open_nursery() as readers:
            for version in versions:
                readers.start_soon(read_into, log, cache, cache.acquire(version), 0, MIB)
    assert sorted(log) == sorted(content(version) for version in versions)
    assert remote.bytes_fetched() <= 3 * 6 * MIB


async def test_fetching_ahead_never_takes_what_was_not_delivered(autojump_clock, make_cache, remote):
    cache = make_cache(64 * MIB)
    kept = cache.acquire(a_version(64 * MIB, "kept"))
    await cache.warm(kept, 0, 64 * MIB)
    scanned = cache.acquire(a_version(64 * MIB, "scanned"))
    for at in range(0, 64 * MIB, 256 * KIB):
        await cache.read(scanned, at, at + 256 * KIB)
    assert 1 <= cache.evicted_unread <= 3, "the demands of the scan take what they need, its windows none"


async def test_what_readers_left_behind_does_not_stop_fetching_ahead(autojump_clock, make_cache, remote):
    """Headers of many files, and windows of files that were closed half-way: nobody is going to read them."""
    cache = make_cache(16 * MIB)
    for number in range(40):
        left = cache.acquire(a_version(8 * MIB, f"left {number}"))
        await cache.warm(left, 0, 256 * KIB)
        await cache.read(left, 0, 64 * KIB)
        cache.release(left)
    left = cache.acquire(a_version(64 * MIB, "left half-way"))
    for at in range(0, 8 * MIB, 256 * KIB):
        await cache.read(left, at, at + 256 * KIB)
    cache.release(left)
    await trio.sleep(100)
    scanned = cache.acquire(a_version(64 * MIB, "scanned"))
    started = trio.current_time()
    for at in range(0, 64 * MIB, MIB):
        await cache.read(scanned, at, at + MIB)
    assert trio.current_time() - started <= 24, "a second for each request: several at once"


async def test_delivered_bytes_go_first(autojump_clock, make_cache, remote):
    cache = make_cache(MIB)
    found = cache.acquire(a_version(64 * MIB))
    places = [number * 2 * MIB for number in range(16)]
    for at in places:
        await cache.warm(found, at, at + 64 * KIB)
    for at in places[8:]:
        await cache.read(found, at, at + 64 * KIB)
    assert cache.budget.used == MIB
    for at in range(40 * MIB + 64 * KIB, 40 * MIB + 8 * 192 * KIB, 192 * KIB):
        await cache.read(found, at, at + 1)
    held = [at for at in places if found.extents.holds(at, at + 64 * KIB)]
    assert held == places[:8], "what nobody read yet is kept"
    assert cache.evicted_unread == 0


async def test_the_last_resort_is_what_was_used_longest_ago(autojump_clock, make_cache, remote):
    cache = make_cache(MIB)
    found = cache.acquire(a_version(64 * MIB))
    places = [number * 2 * MIB for number in range(16)]
    for at in places:
        await cache.read(found, at, at + 1)
    await cache.read(found, places[0], places[0] + 1)
    await cache.read(found, 50 * MIB, 50 * MIB + 1)
    held = [at for at in places if found.extents.holds(at, at + 1)]
    assert held == [places[0], *places[2:]]


async def test_of_a_stream_only_the_last_delivered_parts_are_kept(autojump_clock, make_cache, remote, monkeypatch):
    """The kernel has them; what is not delivered, or read at random, stays."""
    monkeypatch.setattr("mountd.cache.kept.KEEP_DELIVERED", 6 * MIB)
    cache = make_cache(256 * MIB)
    found = cache.acquire(a_version(64 * MIB))
    zeros = bytes(found.version.size)
    remote.bytes_of = lambda version: zeros
    await cache.read(found, 60 * MIB, 60 * MIB + 64 * KIB)
    held_before = 0
    for at in range(0, 32 * MIB, MIB):
        await cache.read(found, at, at + MIB)
        assert cache._kept.delivered_bytes <= 6 * MIB
        held_before = cache.budget.used
    await trio.sleep(5)
    assert not found.extents.within(0, 24 * MIB)
    assert found.extents.holds(28 * MIB, 32 * MIB)
    assert found.extents.holds(60 * MIB, 60 * MIB + 64 * KIB)
    assert cache.budget.used == held_bytes(cache) >= held_before
    assert cache.evicted_unread == 0


async def test_bytes_are_kept_after_the_last_user_left_and_forgotten_when_evicted(autojump_clock, make_cache, remote):
    cache = make_cache(MIB)
    version = a_version(256 * KIB, "old")
    found = cache.acquire(version)
    await cache.read(found, 0, 256 * KIB)
    cache.release(found)
    found = cache.acquire(version)
    assert cache.read_nowait(found, 0, 256 * KIB) is not None
    cache.release(found)
    other = cache.acquire(a_version(4 * MIB, "new"))
    for at in range(0, 4 * MIB, 256 * KIB):
        await cache.read(other, at, at + 256 * KIB)
    assert set(cache._objects) == {other.version}


async def test_an_object_without_users_and_bytes_is_forgotten(autojump_clock, make_cache, remote):
    cache = make_cache()
    found = cache.acquire(a_version(0))
    assert len(cache._objects) == 1
    cache.release(found)
    assert len(cache._objects) == 0

    async def fail(version, wanted):
        raise UnavailableError("down")

    remote.before = fail
    found = cache.acquire(a_version(10))
    with trio.move_on_after(0):
        await cache.read(found, 0, 10)
    cache.release(found)
    await trio.sleep(10)
    assert len(cache._objects) == 0, "its last fetch failed after its last user left"
