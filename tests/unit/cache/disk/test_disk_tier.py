"""The tier around `fetch`: readers first, nothing asked for twice, and what is on its way stays bounded."""

import itertools
import threading
import time
import tracemalloc

import pytest
import trio
import trio.lowlevel
import trio.testing

from mountd.cache.disk import entry as entries
from mountd.cache.disk import tier as tier_module
from mountd.cache.disk.disk_cache import _boot_id
from mountd.cache.disk.index import Index
from mountd.cache.disk.journal import Journal
from mountd.cache.disk.layout import digest_of
from mountd.cache.disk.pace import Pace
from mountd.cache.disk.processors import Load
from mountd.cache.disk.state import State
from mountd.errors import ChangedError, UnavailableError
from mountd.units import KIB, MIB, ByteRange
from tests.support.disk_cache import STORE, bytes_of, open_cache, piece_of, version_of
from tests.support.disk_tier import FILE, WHOLE, World

pytestmark = pytest.mark.usefixtures("quick")


async def test_what_was_fetched_once_comes_from_the_disk_ever_after(tmp_path):
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()
        await world.read()
        await world.read(FILE, ByteRange(MIB + 5, 2 * MIB))
        assert len(world.origin.asked) == 1
    async with World(tmp_path).running() as world:
        await world.read()
        assert world.origin.asked == []
        assert world.tier.counters.hits == 1
        assert world.tier.counters.bytes_hit == FILE.size


async def test_what_another_process_brings_is_found(tmp_path):
    async with World(tmp_path).running() as world:
        other = open_cache(tmp_path)
        other.write([piece_of(FILE)])
        other.close()
        await world.until(lambda: world.cache.holds(FILE, WHOLE))
        await world.read()
        assert world.origin.asked == []


async def test_another_version_is_fetched(tmp_path):
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()
        await world.read(version_of("file", 3 * MIB, 2))
        assert len(world.origin.asked) == 2


async def test_errors_of_the_store_are_the_readers(tmp_path):
    async with World(tmp_path).running() as world:
        world.origin.error = ChangedError("file: was replaced")
        with pytest.raises(ChangedError):
            await world.tier.fetch(FILE, WHOLE)
        assert world.tier.demand.waiting == 0


async def test_a_disk_that_writes_slowly_delays_nobody_and_the_queue_stays_bounded(tmp_path, monkeypatch):
    hold = threading.Event()
    original = Index.reserve

    def slowly(self, needs):
        assert hold.wait(30)
        return original(self, needs)

    async with World(tmp_path, queue_bytes=2 * MIB).running() as world:
        monkeypatch.setattr(Index, "reserve", slowly)
        try:
            for number in range(40):
                await world.read(version_of(f"{number}", 256 * KIB))
                assert world.tier.queued_bytes <= 2 * MIB
            assert len(world.origin.asked) == 40
            assert world.tier.counters.bytes_dropped >= 30 * 256 * KIB
        finally:
            hold.set()
        await world.tier.drain()
        assert world.tier.counters.bytes_kept == 8 * 256 * KIB
        await world.until(lambda: world.tier.queued_bytes == 0)


def busy_processors():
    """Return the pace of a machine whose processors never idle."""
    ticks = itertools.count()
    return Pace(lambda: Load(0, next(ticks), 2))


def idle_processors():
    ticks = itertools.count()
    return Pace(lambda: Load(*[next(ticks)] * 2, 2))


class TestReadersNeedTheProcessors:
    async def test_work_for_later_gives_way_but_not_for_ever(self, tmp_path, autojump_clock):
        tier = World(tmp_path, pace=busy_processors()).tier
        tier.demand.begin()
        before = trio.current_time()
        await tier.give_way()
        assert trio.current_time() - before == pytest.approx(tier_module.GIVE_WAY_S)
        await tier.aclose()

    async def test_work_for_later_begins_at_once_when_nobody_waits(self, tmp_path, autojump_clock):
        tier = World(tmp_path, pace=busy_processors()).tier
        await tier.give_way()
        assert trio.current_time() == 0
        await tier.aclose()

    async def test_work_for_later_begins_when_processors_idle(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tier_module, "GIVE_WAY_S", 20)
        tier = World(tmp_path, pace=idle_processors()).tier
        tier.demand.begin()
        with trio.fail_after(10):
            await tier.give_way()
        await tier.aclose()


class TestSharing:
    """What is on its way is not asked for again."""

    async def test_a_reader_gets_what_is_being_brought(self, tmp_path):
        async with World(tmp_path).running() as world, trio.open_nursery() as nursery:
            world.origin.hold = trio.Event()
            nursery.start_soon(world.tier.bring, FILE, WHOLE)
            await world.until(lambda: world.origin.asked)
            nursery.start_soon(world.read)
            nursery.start_soon(world.read, FILE, ByteRange(MIB, FILE.size))
            await world.until(lambda: world.tier.demand.waiting == 2)
            world.origin.hold.set()
        assert len(world.origin.asked) == 1

    async def test_a_small_read_does_not_wait_for_a_large_part(self, tmp_path):
        async with World(tmp_path).running() as world, trio.open_nursery() as nursery:
            world.origin.hold = hold = trio.Event()
            nursery.start_soon(world.tier.bring, FILE, WHOLE)
            await world.until(lambda: world.origin.asked)
            world.origin.hold = None
            await world.read(FILE, ByteRange(0, 64 * KIB))
            hold.set()

    async def test_what_a_reader_fetches_is_not_brought_again(self, tmp_path):
        async with World(tmp_path).running() as world:
            brought = []
            async with trio.open_nursery() as nursery:
                world.origin.hold = trio.Event()
                nursery.start_soon(world.read)
                await world.until(lambda: world.origin.asked)

                async def bring():
                    brought.append(await world.tier.bring(FILE, WHOLE))

                nursery.start_soon(bring)
                await trio.testing.wait_all_tasks_blocked()
                world.origin.hold.set()
            assert brought == [True]
            assert len(world.origin.asked) == 1
            assert world.cache.holds(FILE, WHOLE)

    async def test_a_reader_of_a_part_of_what_is_brought_keeps_no_more_than_that_in_memory(self, tmp_path):
        async with World(tmp_path).running() as world:
            got = []
            async with trio.open_nursery() as nursery:
                world.origin.hold = trio.Event()
                version = version_of("file", MIB)
                nursery.start_soon(world.tier.bring, version, ByteRange(0, MIB))
                await world.until(lambda: world.origin.asked)

                async def read():
                    got.append(await world.tier.fetch(version, ByteRange(5, 4101)))

                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                world.origin.hold.set()
            assert got == [bytes_of(version, 5, 4101)]
            assert len(got[0].obj) == 4096
            assert len(world.origin.asked) == 1

    async def test_a_reader_does_not_suffer_from_a_failure_to_bring(self, tmp_path):
        async with World(tmp_path).running() as world, trio.open_nursery() as nursery:
            world.origin.hold = trio.Event()
            world.origin.error = UnavailableError("the store is down")

            async def bring():
                with pytest.raises(UnavailableError):
                    await world.tier.bring(FILE, WHOLE)
                world.origin.error = None

            nursery.start_soon(bring)
            await world.until(lambda: world.origin.asked)
            nursery.start_soon(world.read)
            await world.until(lambda: world.tier.demand.waiting == 1)
            world.origin.hold.set()
            await trio.lowlevel.checkpoint()

    async def test_bringing_that_is_cancelled_gives_everything_back(self, tmp_path):
        async with World(tmp_path).running() as world:
            world.origin.hold = trio.Event()
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(world.tier.bring, version_of(f"{number}", 5 * MIB), ByteRange(0, 5 * MIB))
                await world.until(lambda: len(world.origin.asked) == 3)
                nursery.cancel_scope.cancel()
            assert world.tier.queued_bytes == 0


async def test_filling_waits_for_memory_and_says_when_the_disk_is_full(tmp_path):
    async with World(tmp_path, queue_bytes=MIB, size="6MB").running() as world:
        outcomes = []
        for number in range(12):
            version = version_of(f"{number}", 700 * KIB)
            outcomes.append(await world.tier.bring(version, ByteRange(0, version.size), pinned=True))
            assert world.tier.queued_bytes <= MIB
        assert outcomes[0] is True
        assert outcomes[-1] is False
        assert world.tier.queued_bytes == 0


def test_a_large_cache_is_ready_soon_and_takes_little_memory(tmp_path):
    count = 100_000
    open_cache(tmp_path).close()
    state = State.first(1 << 40, 1 << 40, _boot_id(), inherits=False)
    for number in range(count):
        key = f"k{number}"
        entry = entries.with_runs(entries.new(1000), [entries.Run(0, 1000, number)])
        state.objects[digest_of(STORE, key, version_of(key, 1000))] = entries.with_disk(entry, 4096)
    journal = Journal(tmp_path / "journal")
    journal.replace(state.snapshot())
    journal.close()
    del state
    tracemalloc.start()
    try:
        began = time.process_time()  # others may keep the processor
        cache = open_cache(tmp_path)
        assert time.process_time() - began < 5
        assert tracemalloc.get_traced_memory()[0] <= 200 * count
        assert cache.holds(version_of(f"k{count - 1}", 1000), ByteRange(0, 1000))
        assert not cache.holds(version_of(f"k{count}", 1000), ByteRange(0, 1000))
        cache.close()
    finally:
        tracemalloc.stop()


# ---- fetches without a task


class Begun:
    """What the tier begins to fetch from: answers when it is told to."""

    def __init__(self):
        self.asked = []
        self.accepts = True

    def __call__(self, version, wanted, done):
        if self.accepts:
            self.asked.append((version, wanted, done))
        return self.accepts

    def answer(self):
        version, wanted, done = self.asked.pop(0)
        done(bytes_of(version, *wanted))


async def test_what_was_begun_and_fetched_once_comes_from_the_disk_ever_after(tmp_path):
    begun, came = Begun(), []
    world = World(tmp_path / "cache", begin=begun)
    async with world.running():
        tier = world.tier
        assert tier.begin(FILE, WHOLE, came.append)
        assert (tier.readers_wait, tier.demand.waiting, came) == (True, 1, [])
        begun.answer()
        assert (tier.demand.waiting, came) == (0, [bytes_of(FILE, *WHOLE)])
        await tier.drain()
        assert not tier.begin(FILE, WHOLE, came.append), "the disk has it"
        assert await world.read() == came[0]
        assert (tier.counters.hits, tier.counters.misses, world.origin.asked) == (1, 1, [])


async def test_what_is_under_way_is_not_begun_again_and_who_fetches_it_shares_it(tmp_path):
    begun, came = Begun(), []
    world = World(tmp_path / "cache", begin=begun)
    async with world.running(), trio.open_nursery() as nursery:
        assert world.tier.begin(FILE, WHOLE, came.append)
        assert not world.tier.begin(FILE, WHOLE, came.append)
        nursery.start_soon(world.read)
        await trio.testing.wait_all_tasks_blocked()
        begun.answer()
    assert (len(came), world.origin.asked) == (1, [])


async def test_what_did_not_come_is_fetched_in_the_ordinary_way_by_all_who_want_it(tmp_path):
    begun, came = Begun(), []
    world = World(tmp_path / "cache", begin=begun)
    async with world.running(), trio.open_nursery() as nursery:
        assert world.tier.begin(FILE, WHOLE, came.append)
        nursery.start_soon(world.read)
        await trio.testing.wait_all_tasks_blocked()
        begun.asked.pop()[2](None)
        assert (came, world.tier.demand.waiting) == ([None], 1)
    assert (world.origin.asked, world.tier.counters.misses) == ([("file", WHOLE)], 1)


async def test_what_the_store_refuses_to_begin_leaves_nothing_behind(tmp_path):
    begun, came = Begun(), []
    begun.accepts = False
    world = World(tmp_path / "cache", begin=begun)
    async with world.running():
        assert not world.tier.begin(FILE, WHOLE, came.append)
        assert (world.tier.demand.waiting, world.tier.counters.misses) == (0, 0)
        await world.read()
    assert (came, world.origin.asked) == ([], [("file", WHOLE)])


async def test_what_is_said_of_the_disk_is_of_this_moment_where_it_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(tier_module, "UPKEEP_EVERY_S", 3600)
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()
        assert world.tier.latest_totals.objects == 0
        await world.tier.refresh()
        assert world.tier.latest_totals.objects == 1
        for trouble in (OSError("the disk is gone"), RuntimeError("can't start new thread")):

            def fail(trouble=trouble):
                raise trouble

            monkeypatch.setattr(world.cache, "totals", fail)
            await world.tier.refresh()
        assert world.tier.latest_totals.objects == 1
        assert not world.tier.in_trouble
