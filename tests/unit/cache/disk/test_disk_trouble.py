"""The tier around `fetch` when the disk is silent, failing, gone or full: left out, streamed past, and used again."""

import os
import threading

import pytest
import trio

from mountd.cache.disk import reads
from mountd.cache.disk import tier as tier_module
from mountd.cache.disk.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker
from mountd.units import MIB
from tests.support.disk_cache import files_of, open_cache, version_of
from tests.support.disk_tier import FILE, WHOLE, World

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def threads_only(monkeypatch):
    """No read of a disk without a thread, as where kernel or file system cannot."""

    async def run(_reads):
        await trio.sleep_forever()

    monkeypatch.setattr(reads.KernelReads, "run", run)


@pytest.mark.usefixtures("threads_only")
async def test_a_disk_that_does_not_answer_is_left_out_and_comes_back(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(reads, "READ_S", 0.1)
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
    monkeypatch.setattr(reads, "READ_S", 0.1)
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()

        async def silent(*_):
            await trio.sleep_forever()

        with monkeypatch.context() as patch, trio.fail_after(5):
            patch.setattr(reads.KernelReads, "read", silent)
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
    monkeypatch.setattr(reads, "READ_S", 0.3)
    monkeypatch.setattr(reads, "_READERS", 1)
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

            def made_read_only() -> bool:
                world.cache._index.abandon_process()  # open for writing it would forbid the remount; upkeep may open it
                return disk.remounted("ro")

            await world.until(made_read_only)
            for number in range(10):
                await world.read(version_of(f"{number}", 1000))
            await world.until(lambda: world.tier.in_trouble)
            await world.read()
            assert disk.remounted("rw")
            await world.until(lambda: not world.tier.in_trouble and world.cache.holds(FILE, WHOLE))
            asked = len(world.origin.asked)
            await world.read()
            assert len(world.origin.asked) == asked


def open_and_verify(directory):
    cache = open_cache(directory)
    outcome = list(cache.verify())
    cache.close()
    return outcome


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
