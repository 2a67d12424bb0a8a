"""The memory tier: what it fetches before it is asked for."""

import random

import pytest
import trio
import trio.testing

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
