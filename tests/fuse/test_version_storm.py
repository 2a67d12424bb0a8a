"""An object that is replaced in a tight loop under readers of every kind. SEMANTICS: "Versions".

Each 512-byte block of each version names its version, so a mixture of two cannot pass. Allowed to fail is only what
had begun, with ESTALE: a handle that has read something of a large file. `open` itself never fails.
"""

import errno
import mmap
import os
import random
import subprocess
import threading

import pytest

from tests.support.fuse_server import Patience
from tests.support.versioned_content import size_of, version_of, versioned

pytestmark = pytest.mark.fuse

KIB, MIB = 1 << 10, 1 << 20
STORM_S = 2.0
LONGEST_S = 60.0
SPREAD = 5000


class Storm:
    """Objects that change all the time, and what readers saw of them."""

    def __init__(self, server, base, *, spread, pause_s):
        self.server = server
        self.path = server.path / "file"
        self.base, self.spread = base, spread
        self.versions = set()
        self.stale = 0
        self.errors = []
        server.call("replace", key="file", base=base, spread=spread, pause_s=pause_s)

    def check(self, data, size=None):
        """Take note of a full read, which must be exactly one version."""
        version = version_of(data)
        expected = versioned(version, size_of(version, self.base, self.spread))
        assert len(data) == len(expected)
        assert data == expected, f"a mixture that begins like version {version}"
        assert size in (None, len(data))
        self.versions.add(version)

    def run(self, readers, *, made, seen=0):
        """Let all read at once for a while, until the object has gone through `made` versions and `seen` were read.

        A handle that has become stale has seen one, too.
        """
        over = threading.Event()

        def loop(read):
            try:
                while not over.is_set():
                    read(self)
            except BaseException as error:  # noqa: ASYNC103, BLE001 - a thread, no task; raised again outside
                self.errors.append(error)
                over.set()

        threads = [threading.Thread(target=loop, args=[read]) for read in readers]
        for thread in threads:
            thread.start()
        patience = Patience(LONGEST_S)
        try:
            over.wait(STORM_S)
            while not over.is_set() and (
                self.server.call("replaced", key="file") <= made or self.stale + len(self.versions) <= seen
            ):
                patience.spend(f"on a machine this slow nothing is seen: {len(self.versions)} versions")
        finally:
            over.set()
            for thread in threads:
                thread.join()
            self.server.call("stop_replacing", key="file")
        if self.errors:
            raise self.errors[0]


def read_whole(storm):
    fd = os.open(storm.path, os.O_RDONLY)  # never ESTALE
    try:
        size = os.fstat(fd).st_size
        pieces = []
        while piece := os.read(fd, 256 * KIB):
            pieces.append(piece)
        storm.check(b"".join(pieces), size)
    except OSError as error:
        if error.errno != errno.ESTALE or size <= MIB:
            raise
        storm.stale += 1
    finally:
        os.close(fd)


def read_randomly(storm):
    fd = os.open(storm.path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        content = None
        for _ in range(20):
            offset = random.randrange(size - 16) // 512 * 512
            piece = read_fully(fd, min(20_000, size - offset), offset)
            if content is None:
                version = version_of(piece)
                assert size == size_of(version, storm.base, storm.spread)
                content = versioned(version, size)
            assert piece == content[offset : offset + 20_000]
            if random.random() < 0.3:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        storm.versions.add(version_of(content))
    except OSError as error:
        if error.errno != errno.ESTALE or size <= MIB:
            raise
        storm.stale += 1
    finally:
        os.close(fd)


def read_fully(fd, length, offset):
    """A read that fails halfway returns what came before; the error is the next one's."""
    data = b""
    while len(data) < length:
        piece = os.pread(fd, length - len(data), offset + len(data))
        assert piece, "the end of the file in its middle"
        data += piece
    return data


def read_mapped(storm):
    fd = os.open(storm.path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        with mmap.mmap(fd, size, prot=mmap.PROT_READ) as mapped:
            storm.check(mapped[:], size)
    finally:
        os.close(fd)


def read_by_path(storm):
    storm.check(storm.path.read_bytes())


def stat_and_list(storm):
    sizes = {size_of(version, storm.base, storm.spread) for version in range(storm.spread + 1)}
    assert os.stat(storm.path).st_size in sizes
    assert os.listdir(storm.server.path) == ["file"]


def read_by_cat(storm):
    done = subprocess.run(["cat", storm.path], capture_output=True, check=False)
    if done.returncode == 0:
        storm.check(done.stdout)
    else:
        assert storm.base > MIB
        assert b"Stale file handle" in done.stderr
        storm.stale += 1


@pytest.mark.parametrize("spread", [0, SPREAD], ids=["same size", "any size"])
@pytest.mark.parametrize("ttl_s", [0.0, 0.05, 60.0])
def test_small_files_are_always_whole(serve, spread, ttl_s):
    server = serve(ttl_s=ttl_s)
    storm = Storm(server, 40 * KIB, spread=spread, pause_s=0.002)
    readers = [read_whole, read_randomly, read_mapped, read_by_path, read_by_cat, stat_and_list]
    storm.run(readers, made=50, seen=5 if ttl_s < 1 else 0)
    assert storm.stale == 0


@pytest.mark.parametrize("spread", [0, SPREAD], ids=["same size", "any size"])
@pytest.mark.parametrize("ttl_s", [0.0, 0.05, 60.0])
def test_large_files_are_whole_or_stale(serve, spread, ttl_s):
    server = serve(ttl_s=ttl_s, memory_bytes=4 * MIB)
    storm = Storm(server, 2 * MIB, spread=spread, pause_s=0.03)
    storm.run([read_whole, read_whole, read_randomly, read_by_cat, stat_and_list], made=20)


def test_a_slow_store(serve):
    """Every request takes longer than a version lasts, nearly: most opens meet a version that is gone."""
    server = serve(ttl_s=0.05)
    server.fault(delay_s=0.004)
    storm = Storm(server, 40 * KIB, spread=SPREAD, pause_s=0.01)
    storm.run([read_whole, read_mapped, read_by_path, stat_and_list], made=0, seen=5)
    assert storm.stale == 0
