"""The writer of the tier: readers first, and as much as can be kept without them noticing."""

import contextlib
import threading

import pytest
import trio
import trio.testing

from mountd.cache.disk import writer as writer_module
from mountd.units import KIB, MIB, ByteRange
from tests.support.disk_cache import version_of
from tests.support.disk_tier import FILE, WHOLE, World

pytestmark = pytest.mark.usefixtures("quick")

STEPS_S = 5 * writer_module._STEP_S
"""In which a writer that does not stand back has begun."""


class Told:
    """A pace that a test tells what to say."""

    def __init__(self, *, spare=False, young=False, rest=0.0):
        self.spare = spare
        self.burst_is_young = young
        self.rest = rest

    def burst_begins(self):
        pass

    def has_spare(self):
        return self.spare

    def stands_back(self, *, readers_wait):
        return readers_wait and self.burst_is_young and not self.spare

    def rest_s(self, _worked_s, *, readers_wait):
        return self.rest if readers_wait and not self.spare else 0.0


@contextlib.asynccontextmanager
async def reading(directory, pace, queue_bytes=16 * MIB):
    """Yield a world in which a reader waits all the time."""
    async with World(directory, queue_bytes=queue_bytes, pace=pace).running() as world:
        world.tier.demand.begin()
        yield world


@contextlib.contextmanager
def slow_disk(world, monkeypatch):
    """Let no write end before the block does."""
    gate = threading.Event()
    write = world.cache.write
    monkeypatch.setattr(world.cache, "write", lambda pieces: (gate.wait(20), write(pieces))[1])
    try:
        yield
    finally:
        gate.set()


async def read_many(world, count, size):
    versions = [version_of(f"{size}-{number}", size) for number in range(count)]
    for version in versions:
        await world.read(version)
    return versions


def held(world, versions):
    return [version for version in versions if world.cache.holds(version, ByteRange(0, version.size))]


async def test_while_no_processor_idles_little_waits_but_one_piece_always_may(tmp_path, monkeypatch):
    async with reading(tmp_path, Told()) as world:
        with slow_disk(world, monkeypatch):
            large = await read_many(world, 1, 3 * MIB)  # alone in the queue
            await read_many(world, 8, 100 * KIB)
            assert world.tier.queued_bytes == 3 * MIB
            assert world.tier.counters.bytes_dropped == 800 * KIB
        await world.tier.drain()
        assert held(world, large) == large


async def test_while_processors_idle_more_waits(tmp_path, monkeypatch):
    async with reading(tmp_path, Told(spare=True)) as world:
        with slow_disk(world, monkeypatch):
            await read_many(world, 12, MIB)
            assert world.tier.queued_bytes == writer_module.SHORT_QUEUE
            assert world.tier.counters.bytes_dropped == 4 * MIB
        await world.tier.drain()


async def test_while_no_processor_idles_it_rests_after_each_piece_of_work(tmp_path):
    async with reading(tmp_path, Told(rest=3600)) as world:
        first = await read_many(world, 1, MIB)
        await world.until(lambda: held(world, first) and not world.tier.queued_bytes)
        second = await read_many(world, 1, 2 * MIB)
        await trio.sleep(STEPS_S)
        assert not held(world, second)
        with trio.fail_after(10):
            await world.tier.drain()  # the mount ends
        assert held(world, second) == second


class TestYoungBursts:
    """Of a burst that is in its first second."""

    async def test_small_pieces_wait_and_are_written_when_nobody_waits(self, tmp_path):
        async with reading(tmp_path, Told(young=True)) as world:
            small = await read_many(world, 32, 256 * KIB)
            await trio.sleep(STEPS_S)
            assert (world.tier.queued_bytes, world.tier.counters.bytes_dropped, held(world, small)) == (8 * MIB, 0, [])
            world.tier.demand.end()
            await world.until(lambda: held(world, small) == small)

    async def test_of_large_pieces_few_wait(self, tmp_path):
        async with reading(tmp_path, Told(young=True)) as world:
            await read_many(world, 4, 3 * MIB)
            assert (world.tier.queued_bytes, world.tier.counters.bytes_dropped) == (3 * MIB, 9 * MIB)

    async def test_of_tiny_pieces_not_too_many_wait(self, tmp_path, monkeypatch):
        monkeypatch.setattr(writer_module, "MOST_SMALL", 10)
        monkeypatch.setattr(writer_module, "SHORTEST_QUEUE", 4 * KIB)
        async with reading(tmp_path, Told(young=True)) as world:
            await read_many(world, 20, 4 * KIB)
            assert (world.tier.queued_bytes, world.tier.counters.bytes_dropped) == (40 * KIB, 40 * KIB)

    async def test_when_it_grows_old_what_waits_is_written(self, tmp_path):
        pace = Told(young=True)
        async with reading(tmp_path, pace) as world:
            small = await read_many(world, 4, 256 * KIB)
            pace.burst_is_young = False
            await world.until(lambda: held(world, small) == small)

    async def test_idle_processors_write(self, tmp_path):
        async with reading(tmp_path, Told(young=True, spare=True)) as world:
            small = await read_many(world, 4, 256 * KIB)
            await world.until(lambda: held(world, small) == small)

    async def test_the_end_of_the_mount_waits_for_no_reader(self, tmp_path):
        async with reading(tmp_path, Told(young=True)) as world:
            small = await read_many(world, 4, 256 * KIB)
            with trio.fail_after(10):
                await world.tier.drain()
            assert held(world, small) == small

    async def test_who_brings_something_finds_room(self, tmp_path):
        brought = []
        async with reading(tmp_path, Told(young=True), queue_bytes=32 * MIB) as world, trio.open_nursery() as nursery:
            await read_many(world, 40, 960 * KIB)
            assert 27 * MIB < world.tier.queued_bytes <= 28 * MIB

            async def bring():
                brought.append(await world.tier.bring(FILE, WHOLE))

            nursery.start_soon(bring)
            await world.until(lambda: (FILE.key, WHOLE) in world.origin.asked)
            world.tier.demand.end()
            await world.until(lambda: brought == [True])
