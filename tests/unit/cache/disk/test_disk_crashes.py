"""A process that dies at any step of anything leaves a cache that opens at once, tells no lies and forgets no byte."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mountd.cache.disk import entry
from mountd.units import KIB, MIB, ByteRange
from tests.support.disk_cache import bytes_of, files_of, open_cache, piece_of, read, taken, version_of

CEILING = 6 * MIB
SIZES = [0, 1, 64 * KIB, 100_000, MIB, MIB + 70_000]
VERSIONS = [version_of(f"k{number}", size, release) for number, size in enumerate(SIZES[1:]) for release in range(2)]


class Crash(BaseException):
    """The process is gone."""


class Fuse:
    """Burns down with every step of the cache that the disk sees."""

    def __init__(self):
        self.left = None
        self.steps = 0

    def burns_out(self):
        """Count a step; return whether it is the one at which the process dies."""
        self.steps += 1
        if self.left is None:
            return False
        if self.left == 0:
            self.left = None
            return True
        self.left -= 1
        return False


class Machine:
    """A cache whose process can die at a chosen step, and halfway through a write."""

    def __init__(self, directory, patch, **limits):
        self.directory = Path(directory)
        self.limits = limits
        self.fuse = Fuse()
        for name in ("fstat", "ftruncate", "fdatasync", "unlink", "makedirs", "open"):
            self._count(patch, os, name)
        self._count(patch, Path, "rename")
        self._count_writes(patch)
        self.start()

    def _count(self, patch, module, name):
        original = getattr(module, name)

        def counted(*arguments, **options):
            if self.fuse.burns_out():
                raise Crash
            return original(*arguments, **options)

        patch.setattr(module, name, counted)

    def _count_writes(self, patch):
        original = os.pwrite

        def counted(descriptor, data, offset):
            if self.fuse.burns_out():
                original(descriptor, data[: len(data) // 2], offset)
                raise Crash
            return original(descriptor, data, offset)

        patch.setattr(os, "pwrite", counted)

    def start(self):
        self.cache = open_cache(self.directory, **self.limits)
        self.cache.compare()

    def dies_after(self, steps, work):
        """Do `work` with `steps` steps left to live; return whether that was too short."""
        self.fuse.left = steps
        try:
            work(self.cache)
        except Crash:
            self.cache._index.abandon_process()
            self.fuse.left = None
            self.start()
            return True
        finally:
            self.fuse.left = None
        return False

    def check_accounts(self):
        """The sums are right once upkeep ran."""
        self.cache.maintain()
        totals = self.cache.totals()
        on_disk = sum(path.stat().st_blocks * 512 for path in files_of(self.directory))
        assert totals.disk >= on_disk
        assert totals.standing.charged >= taken(self.directory)
        assert totals.owners == 1
        state = self.cache._index._state
        (owner,) = state.owners.values()
        assert (owner.reserved, owner.files, len(owner.held)) == (0, 0, 0)
        found = list(state.objects.values())
        assert totals.disk == sum(map(entry.disk_of, found))
        assert totals.complete == sum(map(entry.is_complete, found))
        assert totals.pinned == sum(entry.disk_of(one) for one in found if entry.is_pinned(one))
        assert not any(map(entry.is_empty, found))

    def check(self):
        """The accounts are right, and what can be read is."""
        self.check_accounts()
        for version in VERSIONS:
            data = read(self.cache, version, ByteRange(0, version.size))
            assert data is None or data == bytes_of(version)
        assert self.cache.corrupt == 0

    def close(self):
        self.cache.close()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch, size=str(CEILING))
    yield machine
    machine.close()


def fill(cache):
    for number in range(5):
        cache.write([piece_of(version_of(f"filler{number}", MIB))])


WORKS = {
    "a first write": lambda cache: cache.write([piece_of(VERSIONS[4]), piece_of(VERSIONS[8], 0, MIB)]),
    "a write that evicts": lambda cache: (fill(cache), cache.write([piece_of(VERSIONS[8])])),
    "a journal that grows too long": lambda cache: [
        cache._index.touch(cache._index.digests() * 9000) for _ in range(2)
    ],
    "clearing": lambda cache: (cache.write([piece_of(version) for version in VERSIONS[:6]]), cache.clear()),
    "goodbye": lambda cache: (
        cache.write([piece_of(VERSIONS[4])]),
        read(cache, VERSIONS[4], ByteRange(0, 9)),
        cache.maintain(),
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_death_at_every_step(machine, name):
    machine.cache.write([piece_of(VERSIONS[2])])
    steps = 0
    while machine.dies_after(steps, WORKS[name]):
        machine.check()
        steps += 1 if name != "a write that evicts" else 3
    machine.check()
    assert steps > 6


operation = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(VERSIONS), st.integers(0, 20), st.integers(1, 20), st.booleans()),
    st.tuples(st.just("read"), st.sampled_from(VERSIONS), st.integers(0, 99), st.integers(1, 100)),
    st.tuples(st.just("maintain")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("flip"), st.integers(0, 99), st.integers(0, 1 << 30)),
    st.tuples(st.just("lose"), st.integers(0, 99)),
    st.tuples(st.just("clear")),
)


@given(steps=st.lists(st.tuples(operation, st.none() | st.integers(0, 60)), max_size=25))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_random_lives(steps, tmp_path_factory):
    """Reads, writes, evictions, versions, flipped bits, lost files, restarts, deaths: every byte is checked."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(directory, patch, size=str(CEILING), prune_target=0.8)
        try:
            for step, dies_in in steps:
                if dies_in is None:
                    live(machine, step)
                else:
                    machine.dies_after(dies_in, lambda _, step=step: live(machine, step))
                assert taken(directory) <= CEILING
            machine.check_accounts()
        finally:
            machine.close()


def live(machine, step):
    """Do one step; what comes out is right, or nothing does."""
    match step:
        case "write", version, cell, cells, pinned:
            start = min(cell * 64 * KIB, version.size - 1) // (64 * KIB) * 64 * KIB
            stop = min(version.size, start + cells * 64 * KIB)
            # pins are few, so that something can always be evicted
            machine.cache.write([piece_of(version, start, stop, pinned=pinned and version in VERSIONS[:2])])
        case "read", version, percent, length:
            start = version.size * percent // 100
            stop = min(version.size, start + 1 + version.size * length // 100)
            data = read(machine.cache, version, ByteRange(start, stop))
            assert data is None or data == bytes_of(version, start, stop)
        case ("maintain",):
            machine.cache.maintain()
        case ("restart",):
            machine.cache.close()
            machine.start()
        case "flip", which, at:
            if files := sorted(files_of(machine.directory)):
                path = files[which % len(files)]
                if size := path.stat().st_size:
                    with path.open("r+b") as file:
                        file.seek(at % size)
                        byte = file.read(1)[0]
                        file.seek(at % size)
                        if byte:  # else it may be a hole, which writing would fill
                            file.write(bytes([byte ^ (1 << random.Random(at).randrange(8))]))
        case "lose", which:
            if files := sorted(files_of(machine.directory)):
                files[which % len(files)].unlink()
        case ("clear",):
            machine.cache.clear()
