"""What reads of the disk cache take of memory: what they were asked for, and a bounded rest for checksums."""

import pytest
import trio
import trio.testing

from mountd.aio.kernel_reads import KernelReads
from mountd.cache.disk.entry import RUN
from mountd.cache.disk.reads import MOST_UNASKED
from mountd.units import KIB, MIB, ByteRange
from tests.support.disk_cache import bytes_of
from tests.support.disk_tier import FILE, WHOLE, World

pytestmark = pytest.mark.usefixtures("quick")
MOST = MOST_UNASKED // RUN


@pytest.fixture
def held_up(monkeypatch):
    """Hold up the kernel's reads until `answer` is set; gives the bytes that are being read now, and the event."""
    under_way, answer = [], trio.Event()
    original = KernelReads.read

    async def read(self, path, start, stop):
        under_way.append(stop - start)
        try:
            await answer.wait()
            return await original(self, path, start, stop)
        finally:
            under_way.remove(stop - start)

    monkeypatch.setattr(KernelReads, "read", read)
    return under_way, answer


async def test_a_part_of_what_the_disk_was_read_for_keeps_no_more_than_itself_in_memory(tmp_path):
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()
        parts = [ByteRange(at, at + 64 * KIB) for at in (0, MIB - 64 * KIB, MIB + 128 * KIB)]
        assert [len((await world.tier.fetch(FILE, part)).obj) for part in parts] == [64 * KIB] * 3
        assert world.tier.counters.hits == 3  # each looked at the checksum of a whole run for it


async def test_what_is_read_for_its_checksum_alone_is_bounded_and_nobody_waits_for_ever(tmp_path, held_up):
    under_way, answer = held_up
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()
        got = []

        async def read(part):
            got.append((await world.tier.fetch(FILE, part)) == bytes_of(FILE, *part))

        async with trio.open_nursery() as readers:
            for number in range(3 * MOST):
                at = number % 48 * 64 * KIB
                readers.start_soon(read, ByteRange(at, at + 64 * KIB))
            await trio.testing.wait_all_tasks_blocked()
            assert under_way == [RUN] * MOST
            answer.set()
        assert got == [True] * 3 * MOST
        assert world.tier.counters.hits == 3 * MOST


async def test_who_wants_all_that_is_read_waits_for_no_bound_and_who_gives_up_leaves_room(tmp_path, held_up):
    under_way, answer = held_up
    async with World(tmp_path).running() as world:
        await world.read()
        await world.tier.drain()
        patience = trio.CancelScope()

        async def give_up():
            with patience:
                async with trio.open_nursery() as nursery:
                    for _ in range(2 * MOST):
                        nursery.start_soon(world.tier.fetch, FILE, ByteRange(0, 64 * KIB))

        async with trio.open_nursery() as readers:
            readers.start_soon(give_up)
            await trio.testing.wait_all_tasks_blocked()
            readers.start_soon(world.read, FILE, WHOLE)
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(under_way) == [RUN] * MOST + [3 * MIB]
            patience.cancel()
            for _ in range(MOST):
                readers.start_soon(world.read, FILE, ByteRange(0, 64 * KIB))
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(under_way) == [RUN] * MOST + [3 * MIB]
            answer.set()
        assert world.tier.counters.hits == MOST + 1
