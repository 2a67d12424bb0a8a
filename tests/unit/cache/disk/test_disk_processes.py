"""Several processes fill one cache: the ceiling holds at every instant, and the dead are cleaned up after."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mountd.units import MIB, ByteRange
from tests.support.disk_cache import bytes_of, open_cache, piece_of, read, version_of

CEILING = 12 * MIB
FILLER = """
import random, sys
from mountd.units import ByteRange
from tests.support.disk_cache import bytes_of, open_cache, piece_of, read, version_of
directory, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)
versions = [version_of(f"{n}", 30_000 + 40_000 * n) for n in range(40)]
pieces = {version: piece_of(version) for version in versions}
cache = open_cache(directory, size="12MB")
print("ready", flush=True)
hits = 0
while rounds:
    rounds -= 1
    cache.write([pieces[version] for version in draw.sample(versions, 3)])
    version = draw.choice(versions)
    data = read(cache, version, ByteRange(0, version.size))
    assert data is None or data == pieces[version].data
    hits += data is not None
    if draw.random() < 0.2:
        cache.maintain()
assert cache.corrupt == 0
cache.close()
print(hits, flush=True)
"""
LOOKER = """
import sys
from tests.support.disk_cache import open_cache
cache = open_cache(sys.argv[1], size="50%")
print("ready", flush=True)
for _ in sys.stdin:
    cache.maintain()
    print(cache.first_free, cache.totals().standing.ceiling, flush=True)
cache.close()
"""


def start(directory, seed, rounds=10**9):
    process = subprocess.Popen(
        [sys.executable, "-c", FILLER, str(directory), str(seed), str(rounds)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def fillers():
    processes = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_ceiling_holds_at_every_instant(small_disk, fillers):
    disk = small_disk("size=64m")
    fillers += [start(disk.path, seed, rounds=60) for seed in range(4)]
    looks, most = 0, 0
    while any(process.poll() is None for process in fillers):
        most = max(most, disk.used())
        looks += 1
    assert [process.wait() for process in fillers] == [0] * 4
    assert looks > 20
    assert CEILING // 2 < most <= CEILING
    assert sum(int(process.stdout.readline()) for process in fillers) > 0


def test_killed_at_any_moment_they_leave_a_cache_that_goes_on(small_disk, fillers):
    disk = small_disk("size=64m")
    survivor = open_cache(disk.path, size="12MB")
    for round_ in range(6):
        for seed in range(2):
            process = start(disk.path, 10 * round_ + seed)
            fillers.append(process)
            deadline = time.monotonic() + 0.03 * (round_ + 1)
            while time.monotonic() < deadline:
                assert disk.used() <= CEILING
            process.send_signal(signal.SIGKILL)
            process.wait()
        survivor.maintain()
        totals = survivor.totals()
        assert totals.owners == 1
        assert disk.used() <= totals.standing.charged <= CEILING
    mine = version_of("mine", MIB)
    assert survivor.write([piece_of(mine)])
    assert read(survivor, mine, ByteRange(0, MIB)) == bytes_of(mine)
    # Who is killed while it makes room leaves an entry whose file is gone: bytes that are missing, never wrong ones.
    list(survivor.verify())
    assert survivor.corrupt == 0
    assert sum(bad for _, bad in survivor.verify()) == 0
    survivor.close()


def test_a_disk_that_was_full_is_of_use_to_everybody_once_it_is_not(small_disk, fillers):
    disk = small_disk("size=16m")
    ballast = disk.path / "ballast"
    ballast.write_bytes(bytes(disk.free() - MIB))
    cache = open_cache(disk.path / "cache", size="50%")
    process = subprocess.Popen(
        [sys.executable, "-c", LOOKER, str(disk.path / "cache")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    fillers.append(process)

    def look():
        process.stdin.write("look\n")
        process.stdin.flush()
        return map(int, process.stdout.readline().split())

    assert process.stdout.readline() == "ready\n"
    version = version_of("mine", 3 * MIB)
    assert not cache.write([piece_of(version)])
    before = cache.first_free
    ballast.unlink()
    found, ceiling = look()
    assert found > 14 * MIB
    assert ceiling == before // 2  # the smallest counts, and this one has not said its new one yet
    cache.maintain()
    found, ceiling = look()
    assert ceiling == found // 2 == cache.first_free // 2
    process.stdin.close()
    assert process.wait() == 0
    assert cache.write([piece_of(version)])
    assert disk.used() <= cache.totals().standing.charged <= cache.totals().standing.ceiling == ceiling
    cache.close()
