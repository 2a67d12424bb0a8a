"""Large files of the disk cache that the kernel reads itself, on real mounts. SEMANTICS: "Passthrough"."""

import contextlib
import ctypes
import errno
import mmap
import os
import random
import threading

import pytest

from mountd.units import MIB
from tests.support.passthrough import SIZE, bring, is_read, is_version, needs_passthrough, opened, passing, wait_passing
from tests.support.versioned_content import versioned

pytestmark = [pytest.mark.fuse]
LIBC = ctypes.CDLL(None)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


@pytest.fixture
def server(start_passing):
    return start_passing()


# ---- bytes


@needs_passthrough
def test_bytes_are_right_and_no_read_reaches_the_mount(server, tmp_path):
    want = versioned(1, SIZE)
    assert server.call("tuning")["passthrough"] == "on"
    assert (server.path / "file").read_bytes() == want
    assert passing(server) == 0
    bring(server)
    wait_passing(server)
    before = server.counters()["reads"]
    with opened(server) as one, opened(server) as other:
        assert passing(server) == 2
        assert os.read(one, 1000) == want[:1000]
        assert os.read(one, SIZE) == want[1000:]
        assert os.read(one, 1) == b""
        assert os.pread(other, 70_000, MIB - 5) == want[MIB - 5 : MIB + 69_995]
        assert os.pread(other, 10, SIZE - 3) == want[-3:]
        assert os.pread(other, 10, SIZE + 3) == b""
        assert os.fstat(one).st_size == SIZE
        assert os.lseek(one, 0, os.SEEK_HOLE) == SIZE
        with mmap.mmap(one, 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == want
        with (tmp_path / "copy").open("wb") as copy:
            assert os.sendfile(copy.fileno(), other, 0, SIZE) == SIZE
        assert (tmp_path / "copy").read_bytes() == want
    assert server.counters()["reads"] == before


@needs_passthrough
def test_a_mapping_that_outlives_its_handle_keeps_its_bytes_whatever_opens_next(server):
    want = versioned(1, SIZE)
    bring(server)
    wait_passing(server)
    with opened(server) as descriptor:
        address = LIBC.mmap(None, SIZE, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)  # Python's own keeps the handle
    assert address != ctypes.c_void_p(-1).value
    try:
        server.wait_until(lambda counters: counters["handles"] == 0)
        server.call("forget_looks")
        with opened(server) as descriptor:
            assert passing(server) == 0
            assert os.pread(descriptor, SIZE, 0) == want
            assert ctypes.string_at(address, SIZE) == want
    finally:
        LIBC.munmap(address, SIZE)


@needs_passthrough
@pytest.mark.parametrize("first", ["passthrough", "direct"])
def test_direct_io_goes_on_at_any_alignment(server, first):
    bring(server)
    wait_passing(server)
    want = versioned(1, SIZE)
    ways = [os.O_RDONLY, os.O_RDONLY | os.O_DIRECT]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(opened(server, flags=way)) for way in ways[:: 1 if first == "passthrough" else -1]]
        assert passing(server) == (2 if first == "passthrough" else 0)
        for descriptor in files:
            assert os.pread(descriptor, 1001, 13) == want[13:1014]


@needs_passthrough
def test_files_that_open_fetches_whole_are_left_to_the_page_cache(server):
    server.set_version("small", 1, MIB)
    bring(server, "small")
    bring(server)
    wait_passing(server)  # by now the other one would have been looked at too
    for _ in range(3):
        with opened(server, "small") as descriptor:
            assert passing(server) == 0
            assert os.pread(descriptor, MIB, 0) == versioned(1, MIB)


# ---- versions


@needs_passthrough
def test_who_has_it_open_keeps_the_old_version_and_the_next_open_has_the_new_one(start_passing):
    server = start_passing(ttl_s=0)
    bring(server)
    wait_passing(server)
    with opened(server) as old:
        server.set_version("file", 2, SIZE + 7)
        with opened(server) as new:
            assert is_version(new, 2, SIZE + 7)
            assert passing(server) == 1
        assert is_version(old, 1)
        bring(server)
        wait_passing_beside(server, 1)
        assert is_version(old, 1)
    assert os.stat(server.path / "file").st_size == SIZE + 7


def wait_passing_beside(server, others):
    def passes(_):
        with opened(server) as descriptor:
            assert is_version(descriptor, 2, SIZE + 7)
            return passing(server) == others + 1

    server.wait_until(passes)


@needs_passthrough
def test_within_the_time_to_live_the_version_that_was_asked_for_is_opened(server):
    bring(server)
    wait_passing(server)
    server.set_version("file", 2, SIZE)
    with opened(server) as descriptor:
        assert is_version(descriptor, 1)
        assert passing(server) == 1


@needs_passthrough
def test_the_store_is_not_needed(server):
    bring(server)
    wait_passing(server)
    server.fault(error="UnavailableError")
    with opened(server) as descriptor:
        assert is_version(descriptor, 1)


# ---- modes


@needs_passthrough
def test_while_it_is_open_through_the_page_cache_nobody_passes_through(server):
    bring(server)
    with opened(server) as cached:
        server.wait_until(lambda _: server.call("looked_at") == 1)
        with opened(server) as descriptor:
            assert passing(server) == 0
            assert is_version(descriptor, 1)
        assert is_version(cached, 1)
    server.wait_until(lambda counters: counters["handles"] == 0)
    with opened(server):
        assert passing(server) == 1


@needs_passthrough
def test_no_open_ever_fails_while_both_ways_alternate(server):
    bring(server)
    wait_passing(server)
    want = versioned(1, SIZE)
    failures = []
    ways = set()
    together = threading.Barrier(6, timeout=30)  # now and then nobody has it open, so that its way may change

    def read(seed):
        draw = random.Random(seed)
        try:
            while True:
                kept = []
                for _ in range(draw.randrange(1, 4)):
                    kept.append(os.open(server.path / "file", os.O_RDONLY))
                    start = draw.randrange(SIZE)
                    assert os.pread(kept[-1], 5000, start) == want[start : start + 5000]
                for descriptor in kept:
                    os.close(descriptor)
                if draw.random() < 0.1:
                    together.wait()
        except threading.BrokenBarrierError:
            return  # it is over, and this thread has nothing open
        except BaseException as error:
            failures.append(error)
            together.abort()
            raise

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(300):
            if turn % 5 == 0:
                server.call("forget_looks")
            if turn == 150:
                server.call("trouble")
            ways.add(bool(passing(server)))
    finally:
        together.abort()
        for thread in threads:
            thread.join(30)
    server.expect_log("in trouble and left out")
    assert failures == []
    assert ways == {True, False}


# ---- where it cannot be used


@needs_passthrough
def test_without_the_capability_everything_is_read_through_the_page_cache(server):
    server.call("refuse_backings", error=errno.EPERM)
    server.expect_log("passthrough is not used")
    bring(server)
    server.wait_until(lambda _: is_read(server) and "off" in server.call("tuning")["passthrough"])
    assert server.call("tuning")["passthrough"] == "off: Operation not permitted; it takes the capability SYS_ADMIN"
    assert is_read(server)
    assert server.stderr().count("passthrough is not used") == 1


def test_libfuse_cannot_do_it_and_says_so(start_passing):
    server = start_passing(engine="libfuse")
    assert server.call("tuning")["passthrough"] == "off: libfuse answers requests"
    bring(server)
    assert is_read(server)
    assert server.call("waiting_for_looks") == 0, "nobody would have anything of it"


def test_it_is_not_asked_for_by_itself(serve, tmp_path):
    server = serve(cache_dir=str(tmp_path / "cache"))
    assert "passthrough" not in server.call("tuning")
    server.set_version("file", 1, SIZE)
    bring(server)
    for _ in range(3):
        with opened(server) as descriptor:
            assert passing(server) == 0
            assert is_version(descriptor, 1)


# ---- the end


@needs_passthrough
def test_who_has_it_open_reads_on_when_the_mount_has_died(server):
    bring(server)
    wait_passing(server)
    with opened(server) as descriptor:
        server.kill()
        assert is_version(descriptor, 1)
        with pytest.raises(OSError, match="not connected"):
            os.open(server.path / "file", os.O_RDONLY)


@needs_passthrough
def test_a_mount_that_is_told_to_end_lets_go_of_everything(server):
    bring(server)
    wait_passing(server)
    with opened(server) as descriptor:
        server.terminate()
        assert server.end_reason() == "stopped"
        assert is_version(descriptor, 1)
