"""The memory tier: right bytes, fetched once, whoever goes away and whatever fails."""

import random

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.aio.abreast import Abreast
from mountd.cache.block_cache import SMALLEST_CHARGE, BlockCache
from mountd.cache.kept import EARLY_S
from mountd.errors import ChangedError, CorruptError, NotFoundError, UnavailableError
from mountd.units import KIB, MIB
from tests.support.remote_versions import Remote, a_version, content, held_bytes, read_into
from tests.support.virtual_time import run_virtual

# ---- one fetch for all


@pytest.fixture
def abreast():
    return Abreast(lambda: 0.0)


async def test_what_nobody_has_open_is_fetched_once_and_is_there_for_who_comes(
    autojump_clock, make_cache, remote, abreast
):
    cache, version = make_cache(limit=2 * MIB), a_version(300_000)
    assert cache.fetch_whole(version, abreast)
    assert cache.fetch_whole(version, abreast)
    found = cache.acquire(version)
    assert not cache.begin(found, 0, version.size)  # on its way
    await cache.warm(found, 0, version.size)
    assert cache.begin(found, 0, version.size)
    assert cache.read_nowait(found, 0, version.size) == remote.bytes_of(version)
    assert remote.fetched == [(version, (0, version.size))]
    assert abreast.under_way == 0
    cache.release(found)
    assert cache.budget.used == held_bytes(cache)


async def test_what_nobody_has_open_has_a_share_and_makes_room_for_readers_and_in_time_for_its_like(
    autojump_clock, make_cache, remote, abreast
):
    cache = make_cache(limit=2 * MIB)
    early = [a_version(100_000, f"early{number}") for number in range(6)]
    assert [cache.fetch_whole(version, abreast) for version in early] == [True] * 5 + [False]
    await trio.sleep(1)
    assert not cache.fetch_whole(early[5], abreast)  # else it would take the place of the one that is opened next
    await trio.sleep(EARLY_S)
    assert cache.fetch_whole(early[5], abreast)
    large = cache.acquire(a_version(2 * MIB, "large"))
    for start in range(0, 2 * MIB, 256 * KIB):  # a reader may have all memory
        assert len(await cache.read(large, start, start + 256 * KIB)) == 256 * KIB
    cache.release(large)
    await trio.sleep(1)
    assert cache.budget.used == held_bytes(cache)
    assert cache.fetch_whole(a_version(100_000, "another"), abreast)
    await trio.sleep(100)
    assert cache.budget.used == held_bytes(cache)


async def test_who_comes_late_to_a_fetch_that_fails_has_a_try_of_his_own(autojump_clock, make_cache, remote, abreast):
    left = [1]

    async def fail(*_):
        if left[0]:
            left[0] -= 1
            await trio.sleep(1)
            raise UnavailableError("no")

    remote.before = fail
    cache, version = make_cache(), a_version(1000)
    assert cache.fetch_whole(version, abreast)
    found = cache.acquire(version)
    await cache.warm(found, 0, version.size)
    assert cache.read_nowait(found, 0, version.size) == remote.bytes_of(version)
    left[0] = 9
    other = a_version(1000, "other")
    assert cache.fetch_whole(other, abreast)
    with pytest.raises(UnavailableError):
        await cache.warm(cache.acquire(other), 0, other.size)
    assert left[0] == 9 - 2 * remote.tries
    cache.release(found)


async def test_a_read_brings_the_bytes_and_the_next_one_has_them(autojump_clock, make_cache, remote):
    cache, version = make_cache(), a_version(MIB)
    found = cache.acquire(version)
    assert cache.read_nowait(found, 1000, 2000) is None
    assert bytes(await cache.collect(found, 1000, 2000)) == content(version)[1000:2000]
    assert [span for _, span in remote.fetched] == [(0, 64 * KIB)]
    assert bytes(cache.read_nowait(found, 5000, 6000)) == content(version)[5000:6000]
    assert len(remote.fetched) == 1
    assert (cache.counters.misses, cache.counters.hits) == (1, 1)


async def test_overlapping_readers_share_their_fetches(autojump_clock, make_cache, remote):
    """`Remote` checks that nothing is fetched twice at once; here nothing is fetched twice at all."""
    cache, version = make_cache(), a_version(600 * KIB)
    found = cache.acquire(version)
    spans = [(0, 200 * KIB), (100 * KIB, 300 * KIB), (50 * KIB, 600 * KIB), (0, 600 * KIB), (299 * KIB, 301 * KIB)]
    logs = [[] for _ in spans]
    start = trio.current_time()
    async with trio.open_nursery() as readers:
        for span, log in zip(spans, logs, strict=True):
            readers.start_soon(read_into, log, cache, found, *span)
    assert logs == [[content(version)[a:b]] for a, b in spans]
    assert remote.bytes_fetched() == 600 * KIB
    assert trio.current_time() - start == pytest.approx(1), "side by side"


async def test_two_users_of_a_version_share_it_and_two_versions_do_not(autojump_clock, make_cache, remote):
    cache = make_cache()
    one, two = a_version(64 * KIB), a_version(64 * KIB, etag='"2"')
    assert cache.acquire(one) is cache.acquire(one)
    first, second = cache.acquire(one), cache.acquire(two)
    assert bytes(await cache.read(first, 0, 64 * KIB)) == content(one)
    assert bytes(await cache.read(second, 0, 64 * KIB)) == content(two)
    assert len(remote.fetched) == 2


@pytest.mark.parametrize("first_leaves", [True, False])
async def test_a_cancelled_reader_cancels_nothing_for_others(autojump_clock, make_cache, remote, first_leaves):
    cache, version = make_cache(), a_version(64 * KIB)
    found = cache.acquire(version)
    log = []

    async def impatient():
        with trio.move_on_after(0.5) as scope:
            await cache.read(found, 0, 64 * KIB)
        assert scope.cancelled_caught

    async with trio.open_nursery() as readers:
        if first_leaves:
            readers.start_soon(impatient)
            await trio.testing.wait_all_tasks_blocked()
        readers.start_soon(read_into, log, cache, found, 0, 64 * KIB)
        await trio.testing.wait_all_tasks_blocked()
        if not first_leaves:
            readers.start_soon(impatient)
    assert log == [content(version)]
    assert len(remote.fetched) == 1
    assert held_bytes(cache) == cache.budget.used


async def test_what_a_lone_cancelled_reader_asked_for_is_kept(autojump_clock, make_cache, remote):
    cache, version = make_cache(), a_version(64 * KIB)
    found = cache.acquire(version)
    with trio.move_on_after(0.5):
        await cache.read(found, 0, 64 * KIB)
    await trio.sleep(1)
    assert bytes(cache.read_nowait(found, 0, 64 * KIB)) == content(version)
    assert len(remote.fetched) == 1


# ---- errors


async def test_an_error_reaches_all_who_wait_and_the_next_read_tries_again(autojump_clock, make_cache, remote):
    cache, version = make_cache(), a_version(64 * KIB)
    found = cache.acquire(version)
    log = []

    async def fail(version, wanted):
        await trio.sleep(1)
        raise UnavailableError("down")

    remote.before = fail
    async with trio.open_nursery() as readers:
        for _ in range(3):
            readers.start_soon(read_into, log, cache, found, 0, 64 * KIB)
    assert [str(error) for error in log] == ["down"] * 3
    assert len(remote.fetched) == remote.tries
    assert cache.budget.used == held_bytes(cache) == 0

    remote.before = None
    assert bytes(await cache.read(found, 0, 64 * KIB)) == content(version)
    assert not found.changed


async def test_only_readers_of_the_failed_part_get_its_error(autojump_clock, make_cache, remote):
    cache, version = make_cache(), a_version(256 * KIB)
    found = cache.acquire(version)
    good, bad, both = [], [], []

    async def fail_in_the_middle(version, wanted):
        if wanted.start == 128 * KIB:
            await trio.sleep(0.5)
            raise UnavailableError("down")

    remote.before = fail_in_the_middle
    async with trio.open_nursery() as readers:
        readers.start_soon(read_into, good, cache, found, 0, 64 * KIB)
        await trio.testing.wait_all_tasks_blocked()
        readers.start_soon(read_into, bad, cache, found, 128 * KIB, 130 * KIB)
        await trio.testing.wait_all_tasks_blocked()
        readers.start_soon(read_into, both, cache, found, 0, 192 * KIB)
    assert good == [content(version)[: 64 * KIB]]
    assert [str(error) for error in bad + both] == ["down", "down"]


@pytest.mark.parametrize("error", [ChangedError("replaced"), NotFoundError("gone")])
async def test_a_version_that_is_gone_is_read_from_memory_and_no_further(autojump_clock, make_cache, remote, error):
    cache, version = make_cache(), a_version(4 * MIB)
    found = cache.acquire(version)
    await cache.read(found, 0, 4 * KIB)

    async def gone(version, wanted):
        raise error

    remote.before = gone
    with pytest.raises(type(error)):
        await cache.read(found, 2 * MIB, 2 * MIB + 10)
    assert found.changed
    asked = len(remote.fetched)
    for at in range(4 * KIB, 64 * KIB, 4 * KIB):
        assert bytes(await cache.read(found, at, at + 4 * KIB)) == content(version)[at : at + 4 * KIB]
    await trio.sleep(10)
    assert len(remote.fetched) == asked, "nothing is fetched ahead of a version that is gone"
    with pytest.raises(type(error)):
        await cache.read(found, 60 * KIB, 70 * KIB)


async def test_bytes_missing_are_corruption_not_data(autojump_clock, make_cache, remote):
    cache, version = make_cache(), a_version(64 * KIB)
    found = cache.acquire(version)
    remote.cut = 1
    with pytest.raises(CorruptError, match="65535 bytes of 65536"):
        await cache.read(found, 0, 10)
    assert cache.budget.used == held_bytes(cache) == 0
    remote.cut = 0
    assert bytes(await cache.read(found, 0, 10)) == content(version)[:10]


async def test_a_defect_in_fetch_reaches_the_reader_and_ends_nothing_else(autojump_clock, make_cache, remote):
    cache, version = make_cache(), a_version(64 * KIB)
    found = cache.acquire(version)

    async def defect(version, wanted):
        raise ZeroDivisionError

    remote.before = defect
    with pytest.raises(ZeroDivisionError):
        await cache.read(found, 0, 10)
    remote.before = None
    assert bytes(await cache.read(found, 0, 10)) == content(version)[:10]


async def test_readers_get_one_of_our_errors_when_the_mount_ends(autojump_clock):
    log = []
    async with trio.open_nursery() as readers, trio.open_nursery() as owner:
        remote = Remote()
        cache = remote.cache = BlockCache(remote, owner, limit_bytes=MIB)
        found = cache.acquire(a_version(64 * KIB))
        readers.start_soon(read_into, log, cache, found, 0, 10)
        await trio.testing.wait_all_tasks_blocked()
        owner.cancel_scope.cancel()
    assert isinstance(log[0], UnavailableError)
    assert cache.budget.used == 0


# ---- warming


async def test_warming_fetches_what_is_missing_and_is_no_read(autojump_clock, make_cache, remote):
    cache, version = make_cache(), a_version(MIB)
    found = cache.acquire(version)
    await cache.read(found, 100 * KIB, 101 * KIB)
    remote.fetched.clear()
    await cache.warm(found, 0, MIB)
    assert sorted(span for _, span in remote.fetched) == [(0, 64 * KIB), (128 * KIB, MIB)]
    assert cache.counters.misses == 1
    assert bytes(cache.read_nowait(found, 128 * KIB, MIB)) == content(version)[128 * KIB :]


@pytest.mark.parametrize("failing", range(4))
async def test_warming_fails_if_any_piece_does(autojump_clock, make_cache, remote, failing):
    """A small budget makes several pieces of it; the others may still be on their way, or here, when one fails."""
    cache, version = make_cache(MIB), a_version(MIB)
    found = cache.acquire(version)

    async def fail(version, wanted):
        if wanted.start == failing * 256 * KIB:
            raise ChangedError("replaced")

    remote.before = fail
    with pytest.raises(ChangedError):
        await cache.warm(found, 0, MIB)


async def test_what_was_warmed_makes_room_for_who_waits(autojump_clock, make_cache, remote):
    """Nobody reads the warmed files: their memory must not stay pinned or be forgotten."""
    cache = make_cache(MIB)
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            for number in range(7):
                nursery.start_soon(cache.warm, cache.acquire(a_version(256 * KIB, f"k{number}")), 0, 256 * KIB)
    assert cache.budget.waiting == 0
    assert cache.budget.used == held_bytes(cache)


# ---- anything at all

reads = st.tuples(
    st.integers(0, 3),  # object
    st.integers(0, 1 << 30),  # offset, modulo its size
    st.integers(1, 300_000) | st.integers(1, 2 * MIB),  # length
    st.none() | st.floats(0, 3),  # patience
)


SIZES = [1, 5000, 300_001, 5 * MIB]


@settings(max_examples=60)
@given(
    limit=st.sampled_from([SMALLEST_CHARGE, 20_000, 64 * KIB, 300_000, MIB, 16 * MIB]),
    readers=st.lists(st.lists(reads, max_size=8), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    failing=st.sampled_from([0.0, 0.0, 0.2]),
    begun=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_any_readers_in_any_budget_at_any_latency_get_the_right_bytes(limit, readers, seed, failing, begun):
    async def main():
        remote = Remote()
        draw = random.Random(seed)

        async def maybe_fail(version, wanted):
            if draw.random() < failing:
                await trio.sleep(draw.random())
                raise UnavailableError("down")

        remote.takes_s = lambda version, wanted: draw.choice([0, 0.1, 1, draw.random()])
        remote.before = maybe_fail

        async def reader(ops):
            for number, offset, length, patience in ops:
                version = a_version(SIZES[number], f"k{number}")
                start = offset % version.size
                stop = min(version.size, start + length)
                if draw.random() < 0.3:
                    cache.fetch_whole(a_version(draw.choice(SIZES), f"k{draw.randrange(4)}"), Abreast(lambda: 0.0))
                found = cache.acquire(version)
                try:
                    with trio.move_on_after(1e9 if patience is None else patience):
                        data = await cache.read(found, start, stop)
                        assert data == remote.bytes_of(version)[start:stop]
                        assert len(data) == stop - start
                except UnavailableError:
                    assert failing
                finally:
                    cache.release(found)

        async with trio.open_nursery() as owner:
            begin = remote.begin_in(owner, lambda: draw.random() < begun)
            cache = remote.cache = BlockCache(remote, owner, limit_bytes=limit, begin=begin)
            with trio.fail_after(1e6):
                async with trio.open_nursery() as nursery:
                    for ops in readers:
                        nursery.start_soon(reader, ops)
            await trio.sleep(1e4)
            assert remote.running == []
            assert cache.budget.waiting == 0
            assert cache.budget.peak <= limit
            assert cache.budget.used == held_bytes(cache)
            owner.cancel_scope.cancel()

    run_virtual(main)


# ---- defects


async def test_a_fetch_that_cannot_be_begun_for_a_defect_is_made_in_a_task(autojump_clock, nursery, remote, abreast):
    def begin(*_):
        raise MemoryError

    cache = remote.cache = BlockCache(remote, nursery, limit_bytes=MIB, begin=begin)
    version, early = a_version(1000), a_version(1000, "early")
    found = cache.acquire(version)
    assert await cache.read(found, 0, 1000) == content(version)
    assert cache.fetch_whole(early, abreast)
    await trio.sleep(10)
    assert cache.read_nowait(cache.acquire(early), 0, 1000) == content(early)
    assert cache.budget.used == held_bytes(cache)


async def test_whoever_is_told_and_fails_keeps_nobody_else_waiting(autojump_clock, make_cache, remote):
    cache, version = make_cache(), a_version(1000)
    found, told = cache.acquire(version), []
    assert not cache.begin(found, 0, 1000)
    pending = cache.pending(found, 0, 1000)

    def defect():
        raise ValueError("defect")

    pending.told += [defect, lambda: told.append(pending.data is not None)]
    assert await cache.read(found, 0, 1000) == content(version)
    assert told == [True]
