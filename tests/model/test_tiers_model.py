"""Memory, disk and store together, under everything that happens to them: whatever comes out is right, to the byte.

A program reads any ranges of any versions while objects are replaced, the store and the disk fail, bits flip, files and
journal are lost or cut, ceilings are reached, the wall clock jumps, and the process is killed and started again.
"""

import contextlib
import errno
import os
import time

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mountd.cache.block_cache import BlockCache
from mountd.cache.disk import tier as tier_module
from mountd.cache.disk import writer as writer_module
from mountd.cache.disk.disk_cache import DiskCache
from mountd.cache.disk.room import CacheLimits
from mountd.cache.disk.tier import DiskTier
from mountd.errors import ChangedError, MountdError, UnavailableError
from mountd.units import KIB, MIB, ByteRange
from tests.support.disk_cache import bytes_of, files_of, taken, version_of

SIZES = [1, 4096, 64 * KIB, 100_000, 500_000, MIB + 12_345]
CEILING = 3 * MIB


class Node:
    """One object of each size, whose versions follow on each other, and a mount of them."""

    def __init__(self, directory, patch):
        self.directory = directory
        self.numbers = [1] * len(SIZES)
        self.store_fails = False
        self.disk_fails = 0
        self.skew = 0.0
        original, clock = os.pwrite, time.time

        def pwrite(descriptor, data, offset):
            if self.disk_fails:
                raise OSError(self.disk_fails, os.strerror(self.disk_fails))
            return original(descriptor, data, offset)

        patch.setattr(os, "pwrite", pwrite)
        patch.setattr(time, "time", lambda: clock() + self.skew)

    def current(self, which):
        return version_of(f"dir/{which}", SIZES[which], self.numbers[which])

    async def fetch(self, version, wanted):
        await trio.lowlevel.checkpoint()
        if self.store_fails:
            raise UnavailableError("the store is down")
        if version != self.current(int(version.key[4:])):
            raise ChangedError(f"{version.key}: was replaced")
        return memoryview(bytes(bytes_of(version, *wanted)))

    @contextlib.asynccontextmanager
    async def process(self):
        """Run a process until it is killed: nothing is said to anybody at its end."""
        cache = DiskCache(
            self.directory, lambda key: ("store", key), CacheLimits(size=str(CEILING), reserve=0, prune_target=0.8)
        )
        tier = DiskTier(cache, self.fetch, queue_bytes=MIB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tier.run)
            await tier.wait_ready()
            memory = BlockCache(tier.fetch, nursery, limit_bytes=256 * KIB)
            yield cache, tier, memory
            nursery.cancel_scope.cancel()
        cache._index.abandon_process()


async def read(node, memory, version, start, stop):
    found = memory.acquire(version)
    try:
        data = await memory.read(found, start, stop)
    except MountdError:
        # Only what could not be had: the store is down, or has another version by now.
        assert node.store_fails or version != node.current(int(version.key[4:]))
    else:
        assert data == bytes_of(version, start, stop)
    finally:
        memory.release(found)


WHICH = st.integers(0, len(SIZES) - 1)
SHARE = st.floats(0, 1)
READ = st.tuples(st.just("read"), WHICH, st.integers(0, 1), SHARE, SHARE)
STEP = st.one_of(
    READ,
    READ,
    READ,
    st.tuples(st.just("replace"), WHICH),
    st.tuples(st.just("store"), st.booleans()),
    st.tuples(st.just("disk"), st.sampled_from([0, 0, errno.EIO, errno.ENOSPC, errno.EROFS])),
    st.tuples(st.just("drain")),
    st.tuples(st.just("bring"), WHICH, st.booleans()),
    st.tuples(st.just("flip"), st.integers(0, 99), st.integers(0, 1 << 30)),
    st.tuples(st.just("lose"), st.integers(0, 99)),
    st.tuples(st.just("cut"), SHARE),
    st.tuples(st.just("clear")),
    st.tuples(st.just("upkeep")),
    st.tuples(st.just("clock"), st.sampled_from([-1e9, 0.0, 1e9])),
)


async def live(node, lives):
    for steps in lives:
        node.disk_fails = 0  # a mount that finds the disk in trouble has no tier at all
        async with node.process() as (cache, tier, memory):
            for step in steps:
                await do(node, cache, tier, memory, step)
                if not any(step[0] == "cut" for step in steps):
                    assert taken(node.directory) <= CEILING


async def do(node, cache, tier, memory, step):
    match step:
        case "read", which, back, first, last:
            version = version_of(f"dir/{which}", SIZES[which], max(1, node.numbers[which] - back))
            start = min(int(first * version.size), version.size - 1)
            await read(node, memory, version, start, max(start + 1, int(last * version.size)))
            if which % 2:
                await tier.drain()
        case "replace", which:
            node.numbers[which] += 1
        case "store", fails:
            node.store_fails = fails
        case "disk", error:
            node.disk_fails = error
        case ("drain",):
            await tier.drain()
        case "bring", which, pinned:
            version = node.current(which)
            with contextlib.suppress(UnavailableError):
                # pins are few, so that something can always be evicted
                await tier.bring(version, ByteRange(0, version.size), pinned=pinned and which < 3)
        case "flip", which, at:
            flip(files_of(node.directory), which, at)
        case "lose", which:
            if files := sorted(files_of(node.directory)):
                files[which % len(files)].unlink(missing_ok=True)
        case "cut", share:
            journal = node.directory / "journal"
            with contextlib.suppress(FileNotFoundError):
                os.truncate(journal, int(journal.stat().st_size * share))
        case ("clear",):
            with contextlib.suppress(OSError):
                await trio.to_thread.run_sync(cache.clear)
        case ("upkeep",):
            with contextlib.suppress(OSError):
                await tier._upkeep_round()
        case "clock", skew:
            node.skew = skew


def flip(files, which, at):
    if not files:
        return
    with contextlib.suppress(FileNotFoundError), sorted(files)[which % len(files)].open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if size:
            file.seek(at % size)
            byte = file.read(1)[0]
            file.seek(at % size)
            if byte:  # else it may be a hole, which writing would fill
                file.write(bytes([byte ^ 1 << at % 8]))


@given(lives=st.lists(st.lists(STEP, min_size=3, max_size=20), min_size=1, max_size=4))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_every_byte_is_right_whatever_happens(lives, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tier_module, "UPKEEP_EVERY_S", 0.01)
        patch.setattr(writer_module, "FULL_S", 0.01)
        patch.setattr("mountd.cache.disk.breaker.FIRST_PAUSE_S", 0.01)
        patch.setattr(tier_module.log, "warning", lambda *_, **__: None)
        node = Node(tmp_path_factory.mktemp("cache"), patch)
        trio.run(live, node, lives)
