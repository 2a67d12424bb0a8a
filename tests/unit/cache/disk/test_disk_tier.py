"""The tier around `fetch`: readers first, the disk when it is well, and the store whenever it is not."""

import contextlib
import itertools
import os
import threading
import time
import tracemalloc

import pytest
import trio
import trio.lowlevel
import trio.testing

from mountd.cache.disk import entry as entries
from mountd.cache.disk import tier as tier_module
from mountd.cache.disk.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker
from mountd.cache.disk.disk_cache import _boot_id
from mountd.cache.disk.index import Index
from mountd.cache.disk.journal import Journal
from mountd.cache.disk.layout import digest_of
from mountd.cache.disk.pace import Pace, ProcessorTime
from mountd.cache.disk.state import State
from mountd.cache.disk.tier import DiskTier
from mountd.errors import ChangedError, UnavailableError
from mountd.units import KIB, MIB, ByteRange
from tests.support.disk_cache import STORE, bytes_of, files_of, open_cache, piece_of, version_of

FILE = version_of("file", 3 * MIB)
WHOLE = ByteRange(0, FILE.size)


class Origin:
    """A store that counts."""

    def __init__(self):
        self.asked = []
        self.error = None
        self.hold = None

    async def fetch(self, version, wanted):
        self.asked.append((version.key, wanted))
        await trio.lowlevel.checkpoint()
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return bytes_of(version, *wanted)


class World:
    """A tier that runs."""

    def __init__(self, directory, queue_bytes=16 * MIB, pace=None, *, opened=True, **limits):
        self.directory = directory
        self.origin = Origin()
        self.cache = open_cache(directory, opened=opened, **limits)
        trouble = None if opened else OSError("the directory cannot be used")
        self.tier = DiskTier(self.cache, self._fetch, queue_bytes=queue_bytes, trouble=trouble, pace=pace)

    async def _fetch(self, version, wanted):
        return await self.origin.fetch(version, wanted)

    @contextlib.asynccontextmanager
    async def running(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.tier.run)
            await self.tier.wait_ready()
            yield self
            nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self.tier.aclose()

    async def until(self, condition):
        with trio.fail_after(20):
            while not condition():  # noqa: ASYNC110 - what the tier's tasks did is announced to nobody
                await trio.sleep(0.005)

    async def read(self, version=FILE, wanted=None):
        wanted = wanted or ByteRange(0, version.size)
        data = await self.tier.fetch(version, wanted)
        assert data == bytes_of(version, *wanted)
        return data


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tier_module, "UPKEEP_EVERY_S", 0.05)
    monkeypatch.setattr(tier_module, "FULL_S", 0.05)
    monkeypatch.setattr("mountd.cache.disk.breaker.FIRST_PAUSE_S", 0.05)


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
        assert world.tier.demand == 0


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
    return Pace(lambda: ProcessorTime(0, next(ticks)), processors=2)


def idle_processors():
    ticks = itertools.count()
    return Pace(lambda: ProcessorTime(*[next(ticks)] * 2), processors=2)


class TestReadersNeedTheProcessors:
    async def test_little_waits_for_the_disk_but_one_piece_always_may(self, tmp_path, monkeypatch):
        async with World(tmp_path, queue_bytes=16 * MIB, pace=busy_processors()).running() as world:
            gate = threading.Event()
            write = world.cache.write
            monkeypatch.setattr(world.cache, "write", lambda pieces: (gate.wait(10), write(pieces))[1])
            world.tier.demand = 1  # a reader that waits all the time
            try:
                await world.read(version_of("large", 3 * MIB))  # alone in the queue
                kept = world.tier.queued_bytes
                for number in range(8):
                    await world.read(version_of(f"small{number}", 100 * KIB))
                assert kept == world.tier.queued_bytes == 3 * MIB
                assert world.tier.counters.bytes_dropped == 800 * KIB
            finally:
                gate.set()
                world.tier.demand = 0
            await world.tier.drain()
            assert world.cache.holds(version_of("large", 3 * MIB), ByteRange(0, 3 * MIB))

    async def test_work_for_later_gives_way_but_not_for_ever(self, tmp_path, autojump_clock):
        tier = World(tmp_path, pace=busy_processors()).tier
        tier.demand = 1
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
        tier.demand = 1
        with trio.fail_after(10):
            await tier.give_way()
        await tier.aclose()


@pytest.fixture
def threads_only(monkeypatch):
    """No read of a disk without a thread, as where kernel or file system cannot."""

    async def run(_reads):
        await trio.sleep_forever()

    monkeypatch.setattr(tier_module.KernelReads, "run", run)


@pytest.mark.usefixtures("threads_only")
async def test_a_disk_that_does_not_answer_is_left_out_and_comes_back(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tier_module, "READ_S", 0.1)
    hold = threading.Event()
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()
        original = world.cache.read
        monkeypatch.setattr(world.cache, "read", lambda *a: hold.wait(30) and original(*a))
        with trio.fail_after(5):
            await world.read()
        assert len(world.origin.asked) == 2
        assert world.tier.in_trouble
        await world.read()  # from the store, at once
        hold.set()
        await world.until(lambda: not world.tier.in_trouble and world.cache.holds(FILE, WHOLE))
        asked = len(world.origin.asked)
        await world.read()
        assert len(world.origin.asked) == asked


async def test_a_disk_that_does_not_answer_without_threads_either_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(tier_module, "READ_S", 0.1)
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()

        async def silent(*_):
            await trio.sleep_forever()

        with monkeypatch.context() as patch, trio.fail_after(5):
            patch.setattr(tier_module.KernelReads, "read", silent)
            await world.read()
            assert len(world.origin.asked) == 2
            assert world.tier.in_trouble
        await world.until(lambda: not world.tier.in_trouble)
        await world.read()
        assert len(world.origin.asked) == 2


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), OSError(30, "Read-only file system")])
async def test_a_disk_in_trouble_is_said_once_left_out_and_comes_back(tmp_path, monkeypatch, error):
    said = []
    monkeypatch.setattr(tier_module.log, "warning", lambda what, **_: said.append(what))
    async with World(tmp_path).running() as world:

        def fail(*_):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("mountd.cache.disk.files.os.pwrite", fail)
            patch.setattr("mountd.cache.disk.disk_cache.Path.write_bytes", fail)
            for number in range(20):
                await world.read(version_of(f"{number}", 100_000))
            await world.until(lambda: world.tier.in_trouble)
            await trio.sleep(0.3)
            assert world.tier.in_trouble
        assert len(said) == 1
        await world.until(lambda: not world.tier.in_trouble)
        await world.tier.drain()  # on busy processors what does not fit beside the rest of the queue is not kept
        await world.read()
        await world.tier.drain()
        await world.read()
        assert [key for key, _ in world.origin.asked].count("file") == 1


async def test_a_directory_that_goes_away_and_comes_back(tmp_path):
    async with World(tmp_path / "cache").running() as world:
        await world.read()
        await world.tier.drain()
        (tmp_path / "cache").rename(tmp_path / "elsewhere")
        (tmp_path / "cache").write_text("in the way")
        await world.until(lambda: world.tier.in_trouble)
        await world.read()
        (tmp_path / "cache").unlink()
        await world.until(lambda: not world.tier.in_trouble)
        await world.read()
        await world.tier.drain()
        asked = len(world.origin.asked)
        await world.read()
        assert len(world.origin.asked) == asked


async def test_a_directory_that_cannot_be_used_at_the_start_is_used_once_it_can(tmp_path):
    directory = tmp_path / "mounted later" / "cache"
    directory.parent.write_text("")
    world = World(directory, opened=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.tier.run)
        await world.read()
        assert world.tier.in_trouble
        errors = world.tier.counters.errors
        await world.until(lambda: world.tier.counters.errors > errors)
        directory.parent.unlink()
        directory.parent.mkdir()
        await world.until(lambda: not world.tier.in_trouble)
        await world.read()
        await world.tier.drain()
        world.origin.asked.clear()
        await world.read()
        assert world.origin.asked == []
        nursery.cancel_scope.cancel()
    await world.tier.aclose()
    assert list((directory / "owners").iterdir()) == []


async def test_a_directory_of_somebody_else_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr("mountd.cache.disk.layout.os.geteuid", lambda: os.getuid() + 1)
    world = World(tmp_path, opened=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.tier.run)
        errors = world.tier.counters.errors
        await world.until(lambda: world.tier.counters.errors > errors)
        await world.read()
        nursery.cancel_scope.cancel()
    await world.tier.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_a_journal_that_is_truncated_or_garbled_under_way_harms_nobody(tmp_path):
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()
        journal = tmp_path / "journal"
        for garble in (lambda: os.truncate(journal, 0), lambda: journal.write_bytes(b"x" * 5000), journal.unlink):
            garble()
            for number in range(20):
                await world.read(version_of(f"{number}", 1000))
            await world.until(lambda: world.tier.takes_writes)
            await world.tier.drain()
            await trio.sleep(0.2)
            await world.read()
            await world.tier.drain()
            asked = len(world.origin.asked)
            await world.read()
            assert len(world.origin.asked) == asked
            assert not world.tier.in_trouble


@pytest.mark.usefixtures("threads_only")
async def test_a_slow_disk_is_no_disk_in_trouble(tmp_path, monkeypatch):
    """Every read waits longer than the limit for its turn, but the disk always answers somebody."""
    monkeypatch.setattr(tier_module, "READ_S", 0.3)
    monkeypatch.setattr(tier_module, "_READERS", 1)
    versions = [version_of(f"{number}", 1000) for number in range(10)]
    async with World(tmp_path).running() as world:
        for version in versions:
            await world.read(version)
        await world.tier.drain()
        original = world.cache.read
        pause = threading.Event()
        monkeypatch.setattr(world.cache, "read", lambda *a: (pause.wait(0.06), original(*a))[1])
        async with trio.open_nursery() as nursery:
            for version in versions:
                nursery.start_soon(world.read, version)
        assert not world.tier.in_trouble
        assert world.tier.counters.hits == len(versions)


class TestSharing:
    """What is on its way is not asked for again."""

    async def test_a_reader_gets_what_is_being_brought(self, tmp_path):
        async with World(tmp_path).running() as world, trio.open_nursery() as nursery:
            world.origin.hold = trio.Event()
            nursery.start_soon(world.tier.bring, FILE, WHOLE)
            await world.until(lambda: world.origin.asked)
            nursery.start_soon(world.read)
            nursery.start_soon(world.read, FILE, ByteRange(MIB, FILE.size))
            await world.until(lambda: world.tier.demand == 2)
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
            await world.until(lambda: world.tier.demand == 1)
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


class TestFullDisk:
    async def test_a_full_disk_means_streaming(self, small_disk):
        disk = small_disk("size=8m")
        async with World(disk.path / "cache").running() as world:
            (disk.path / "others").write_bytes(bytes(disk.free()))
            for number in range(10):
                await world.read(version_of(f"{number}", MIB))
            await world.tier.drain()
            assert world.tier.counters.bytes_kept == 0
            (disk.path / "others").unlink()
            await trio.sleep(0.2)
            await world.read()
            await world.tier.drain()
            await world.read()
            assert len(world.origin.asked) == 11

    async def test_the_disk_fills_up_while_bytes_are_written(self, small_disk):
        """No reserve, and a ceiling that the disk does not have: ENOSPC comes from the file system itself."""
        disk = small_disk("size=6m")
        async with World(disk.path / "cache", size="1GB").running() as world:
            with (disk.path / "others").open("wb") as others:
                for number in range(60):
                    await world.read(version_of(f"{number}", 300_000))
                    if number % 3 == 0 and disk.free() > 500_000:
                        others.write(bytes(300_000))
                        others.flush()
            await world.tier.drain()
            assert not world.tier.in_trouble
        assert sum(bad for _, bad in open_and_verify(disk.path / "cache")) == 0

    async def test_the_reserve_is_restored_when_others_eat_it(self, small_disk):
        disk = small_disk("size=40m")
        async with World(disk.path / "cache", reserve=16 * MIB).running() as world:
            for number in range(40):
                await world.read(version_of(f"{number}", MIB))
                await world.tier.drain()
                assert disk.free() >= 16 * MIB
            held = len(files_of(disk.path / "cache"))
            assert held > 10
            (disk.path / "others").write_bytes(bytes(8 * MIB))
            assert disk.free() < 16 * MIB
            with trio.fail_after(5):
                await world.until(lambda: disk.free() >= 16 * MIB)
            assert len(files_of(disk.path / "cache")) < held

    async def test_inodes_run_out_before_bytes(self, small_disk):
        disk = small_disk("size=64m,nr_inodes=400")
        async with World(disk.path / "cache").running() as world:
            for number in range(600):
                await world.read(version_of(f"{number}", 1000))
                if number % 50 == 0:
                    await world.tier.drain()
                found = os.statvfs(disk.path)
                assert found.f_favail >= found.f_files // 40
            await world.tier.drain()
            assert world.tier.evicted > 100
            assert world.tier.counters.errors == 0

    async def test_a_disk_remounted_read_only_is_left_out_and_comes_back(self, small_disk):
        disk = small_disk("size=40m")
        async with World(disk.path / "cache").running() as world:
            await world.read()
            await world.tier.drain()
            world.cache._index.abandon_process()  # open for writing it would forbid the remount
            disk.remount("ro")
            for number in range(10):
                await world.read(version_of(f"{number}", 1000))
            await world.until(lambda: world.tier.in_trouble)
            await world.read()
            disk.remount("rw")
            await world.until(lambda: not world.tier.in_trouble and world.cache.holds(FILE, WHOLE))
            asked = len(world.origin.asked)
            await world.read()
            assert len(world.origin.asked) == asked


def open_and_verify(directory):
    cache = open_cache(directory)
    outcome = list(cache.verify())
    cache.close()
    return outcome


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
        began = time.monotonic()
        cache = open_cache(tmp_path)
        assert time.monotonic() - began < 5
        assert tracemalloc.get_traced_memory()[0] <= 200 * count
        assert cache.holds(version_of(f"k{count - 1}", 1000), ByteRange(0, 1000))
        assert not cache.holds(version_of(f"k{count}", 1000), ByteRange(0, 1000))
        cache.close()
    finally:
        tracemalloc.stop()


class TestBreaker:
    def test_it_opens_at_once_and_waits_longer_each_time(self, monkeypatch):
        monkeypatch.setattr("mountd.cache.disk.breaker.FIRST_PAUSE_S", FIRST_PAUSE_S)
        breaker = Breaker()
        assert breaker.allows(0)
        assert breaker.failed(0)
        pauses, now = [], 0.0
        for _ in range(10):
            start = now
            while not breaker.allows(now):
                now += 0.25
            pauses.append(now - start)
            assert not breaker.failed(now)
        assert pauses == sorted(pauses)
        assert pauses[-1] <= LONGEST_PAUSE_S + 0.1
        assert pauses[0] < pauses[-1] / 10

    def test_trouble_that_is_soon_back_is_not_announced_again(self):
        breaker = Breaker()
        assert breaker.failed(0)
        assert breaker.succeeded(10)
        assert not breaker.succeeded(11)
        assert not breaker.failed(20)
        assert breaker.succeeded(30)
        assert breaker.failed(30 + LONGEST_PAUSE_S + 1)
        assert breaker.trips == 2
