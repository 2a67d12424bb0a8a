"""Many readers of one mount: threads, processes, forked descriptors. SEMANTICS: "Opening and reading"."""

import mmap
import os
import random
import subprocess
import sys
import threading

import pytest

from tests.support.versioned_content import versioned

pytestmark = pytest.mark.fuse

MIB = 1 << 20
SIZE = 5 * MIB + 777


@pytest.fixture
def server(serve):
    server = serve(memory_bytes=8 * MIB)
    for index in range(3):
        server.set_version(f"f{index}", index, SIZE)
    return server


def run_all(calls):
    """Run all calls at once in threads; raise what the first of them raised."""
    errors = []

    def guarded(call):
        try:
            call()
        except BaseException as error:  # noqa: ASYNC103, BLE001 - a thread, no task; raised again outside
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def read_randomly(path, index, seed):
    content = versioned(index, SIZE)
    draw = random.Random(seed)
    fd = os.open(path, os.O_RDONLY)
    try:
        for _ in range(60):
            offset, length = draw.randrange(SIZE), draw.choice([1, 4096, 65_536, 300_000])
            assert os.pread(fd, length, offset) == content[offset : offset + length]
            if draw.random() < 0.2:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def test_sixteen_readers_each_get_every_byte(server):
    def read(seed):
        path = server.path / f"f{seed % 3}"
        if seed % 2:
            read_randomly(path, seed % 3, seed)
        else:
            assert path.read_bytes() == versioned(seed % 3, SIZE)

    run_all([lambda seed=seed: read(seed) for seed in range(16)])
    counters = server.counters()
    assert counters["memory_peak"] <= counters["memory_limit"]
    assert counters["handles"] <= 16


def test_readers_of_one_file_share_its_fetches(serve):
    server = serve()
    server.set_version("file", 1, SIZE)
    barrier = threading.Barrier(16)

    def read():
        barrier.wait()
        assert (server.path / "file").read_bytes() == versioned(1, SIZE)

    run_all([read] * 16)
    counters = server.counters()
    assert counters["bytes_fetched"] == SIZE, "no byte was fetched twice"


def test_one_descriptor_in_many_threads(server):
    fd = os.open(server.path / "f1", os.O_RDONLY)
    content = versioned(1, SIZE)

    def read(seed):
        draw = random.Random(seed)
        for _ in range(40):
            offset = draw.randrange(SIZE)
            assert os.pread(fd, 10_000, offset) == content[offset : offset + 10_000]

    try:
        run_all([lambda seed=seed: read(seed) for seed in range(8)])
    finally:
        os.close(fd)


def test_processes_that_inherited_one_descriptor_read_with_pread(server):
    """Loader processes fork with the file open; each must get its own bytes at its own place."""
    program = """
import os, sys
fd, seed = int(sys.argv[1]), int(sys.argv[2])
for step in range(40):
    offset = (seed * 131_071 + step * 917_503) % 5_000_000
    sys.stdout.buffer.write(os.pread(fd, 10_000, offset))
"""
    content = versioned(2, SIZE)
    fd = os.open(server.path / "f2", os.O_RDONLY)
    try:
        readers = [
            subprocess.Popen([sys.executable, "-c", program, str(fd), str(seed)], pass_fds=[fd], stdout=subprocess.PIPE)
            for seed in range(4)
        ]
        for seed, reader in enumerate(readers):
            offsets = [(seed * 131_071 + step * 917_503) % 5_000_000 for step in range(40)]
            assert reader.communicate()[0] == b"".join(content[offset : offset + 10_000] for offset in offsets)
            assert reader.returncode == 0
    finally:
        os.close(fd)


def test_forked_processes_share_the_offset_of_one_descriptor(server):
    fd = os.open(server.path / "f2", os.O_RDONLY)
    program = """
import os, sys
while piece := os.read(int(sys.argv[1]), 65_536):
    sys.stdout.buffer.write(piece)
"""
    try:
        readers = [
            subprocess.Popen([sys.executable, "-c", program, str(fd)], pass_fds=[fd], stdout=subprocess.PIPE)
            for _ in range(3)
        ]
        taken = [reader.communicate()[0] for reader in readers]
    finally:
        os.close(fd)
    content = versioned(2, SIZE)
    blocks = {content[at : at + 512] for at in range(0, SIZE, 512)}
    assert sum(map(len, taken)) == SIZE, "every byte went to exactly one of them"
    assert {data[at : at + 512] for data in taken for at in range(0, len(data), 512)} == blocks


def test_a_descriptor_outlives_its_opener(server):
    """The last close releases the handle, whoever does it."""
    fd = os.open(server.path / "f0", os.O_RDONLY)
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import os, sys; sys.stdin.read(); print(len(os.read(int(sys.argv[1]), 100)))", str(fd)],
        pass_fds=[fd],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    os.close(fd)
    assert server.counters()["handles"] == 1
    assert sleeper.communicate()[0] == b"100\n"
    server.wait_until(lambda counters: counters["handles"] == 0)


def test_a_closed_file_leaves_no_handle(server):
    for _ in range(50):
        with (server.path / "f0").open("rb") as opened:
            opened.read(10)
        os.listdir(server.path)
    server.wait_until(lambda counters: counters["handles"] == 0)


@pytest.mark.parametrize(("memory", "each"), [(64 * MIB, MIB), (16 * MIB, MIB // 4)])
def test_the_kernel_reads_as_much_at_once_as_many_readers_have_memory_for(serve, memory, each):
    server = serve({"file": versioned(1, 4 * MIB)}, memory_bytes=memory)
    fd = os.open(server.path / "file", os.O_RDONLY | os.O_DIRECT)
    try:
        before = server.counters()["reads"]
        with mmap.mmap(-1, 4 * MIB) as pages:  # one that begins within a page takes one READ more
            assert os.preadv(fd, [pages], 0) == 4 * MIB
            assert pages[:] == versioned(1, 4 * MIB)
        assert server.counters()["reads"] - before == 4 * MIB // each
    finally:
        os.close(fd)
