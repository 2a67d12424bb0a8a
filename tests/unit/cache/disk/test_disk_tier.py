"""The tier around `fetch`: readers first, the disk when it is well, and the store whenever it is not."""

import contextlib
import os
import threading
import tracemalloc

import pytest
import trio

from mountd.cache.disk import tier as tier_module
from mountd.cache.disk.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker
from mountd.cache.disk.disk_cache import Piece
from mountd.cache.disk.index import Index
from mountd.cache.disk.layout import digest_of
from mountd.cache.disk.tier import DiskTier
from mountd.errors import ChangedError
from mountd.units import KIB, MIB, ByteRange
from tests.support.disk_cache import STORE, bytes_of, files_of, open_cache, piece_of, version_of

FILE = version_of("file", 3 * MIB)
WHOLE = ByteRange(0, FILE.size)


class Origin:
    """A store that counts."""

    def __init__(self):
        self.asked = []
        self.error = None

    async def fetch(self, version, wanted):
        self.asked.append((version.key, wanted))
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return bytes_of(version, *wanted)


class World:
    """A tier that runs."""

    def __init__(self, directory, queue_bytes=16 * MIB, **limits):
        self.directory = directory
        self.origin = Origin()
        self.cache = open_cache(directory, **limits)
        self.tier = DiskTier(self.cache, self.origin.fetch, queue_bytes=queue_bytes)

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
        await world.until(lambda: world.tier._may_have(FILE))
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
                assert world.tier._queued_bytes <= 2 * MIB
            assert len(world.origin.asked) == 40
            assert world.tier.counters.bytes_dropped >= 30 * 256 * KIB
        finally:
            hold.set()
        await world.tier.drain()
        assert world.tier.counters.bytes_kept == 8 * 256 * KIB
        await world.until(lambda: world.tier._queued_bytes == 0)


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
        await world.until(lambda: not world.tier.in_trouble and world.tier._may_have(FILE))
        asked = len(world.origin.asked)
        await world.read()
        assert len(world.origin.asked) == asked


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


async def test_a_broken_index_is_replaced_under_way(tmp_path):
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()
        world.cache._index._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with (tmp_path / "index.sqlite").open("r+b") as file:
            file.seek(100)
            file.write(b"x" * ((tmp_path / "index.sqlite").stat().st_size - 100))
        for number in range(400):
            await world.read(version_of(f"{number}", 1000))
            await trio.sleep(0.005)
            if number > 50 and not world.tier.in_trouble and world.tier.counters.errors:
                break
        assert world.tier.counters.errors > 0
        await world.until(lambda: not world.tier.in_trouble)
        await world.read()
        await world.tier.drain()
        asked = len(world.origin.asked)
        await world.read()
        assert len(world.origin.asked) == asked


async def test_filling_waits_for_memory_and_says_when_the_disk_is_full(tmp_path):
    async with World(tmp_path, queue_bytes=MIB, size="6MB").running() as world:
        outcomes = []
        for number in range(12):
            version = version_of(f"{number}", 700 * KIB)
            await world.tier.room(version.size)
            assert world.tier._queued_bytes <= MIB
            outcomes.append(await world.tier.keep(Piece(version, 0, bytes_of(version), True)))
        assert outcomes[0] is True
        assert outcomes[-1] is False
        assert world.tier._queued_bytes == 0


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
            world.cache._index.close()  # open for writing it would forbid the remount
            disk.remount("ro")
            for number in range(10):
                await world.read(version_of(f"{number}", 1000))
            await world.until(lambda: world.tier.in_trouble)
            await world.read()
            disk.remount("rw")
            await world.until(lambda: not world.tier.in_trouble and world.tier._may_have(FILE))
            asked = len(world.origin.asked)
            await world.read()
            assert len(world.origin.asked) == asked


def open_and_verify(directory):
    cache = open_cache(directory)
    outcome = list(cache.verify())
    cache.close()
    return outcome


async def test_a_large_cache_is_ready_soon_and_takes_little_memory(tmp_path):
    count = 100_000
    cache = open_cache(tmp_path)
    with cache._index._change() as db:
        rows = [(digest_of(STORE, f"k{n}", version_of(f"k{n}", 1000)), 1000, 4096, n, 1) for n in range(count)]
        db.executemany("INSERT INTO object (digest, size, disk, used, complete) VALUES (?, ?, ?, ?, ?)", rows)
        db.execute("INSERT INTO run SELECT id, 0, 1000, 1 FROM object")
    cache.close()
    del rows
    world = World(tmp_path)
    tracemalloc.start()
    try:
        with trio.fail_after(5):
            async with world.running():
                assert world.tier._may_have(version_of(f"k{count - 1}", 1000))
                assert not world.tier._may_have(version_of(f"k{count}", 1000))
                assert tracemalloc.get_traced_memory()[0] <= 200 * count
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
