"""Large files of the disk cache that the kernel reads itself, on real mounts. SEMANTICS: "Passthrough"."""

import contextlib
import ctypes
import errno
import mmap
import os
import random
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from mountd.units import MIB
from tests.support.disk_cache import files_of, open_cache
from tests.support.versioned_content import versioned

pytestmark = [pytest.mark.fuse]
SIZE = 5 * MIB + 12_345
SYS_ADMIN = 1 << 21
LIBC = ctypes.CDLL(None)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def lacking():
    """Return what this machine lacks for it."""
    if tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups())) < (6, 9):
        return "needs Linux 6.9"
    status = Path("/proc/self/status").read_text()
    if os.geteuid() != 0 or not int(re.search(r"CapEff:\s+(\w+)", status)[1], 16) & SYS_ADMIN:
        return "needs root with the capability SYS_ADMIN"
    return ""


needs_passthrough = pytest.mark.skipif(bool(lacking()), reason=lacking())


@pytest.fixture
def start(serve, tmp_path):
    """Start a mount with passthrough, with the first version of `file`."""

    def start(*, cache_dir=tmp_path / "cache", **options):
        server = serve(cache_dir=str(cache_dir), passthrough=True, **options)
        server.set_version("file", 1, SIZE)
        return server

    return start


@pytest.fixture
def server(start):
    return start()


def bring(server, key="file"):
    """Bring a file to disk, and return where it lies."""
    server.call("bring", key=key)
    server.wait_until(lambda _: server.call("cached_file", key=key))
    return Path(server.call("cached_file", key=key))


@contextlib.contextmanager
def opened(server, key="file", flags=os.O_RDONLY):
    descriptor = os.open(server.path / key, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def passing(server):
    return server.counters()["passing"]


def wait_passing(server, key="file"):
    """Return when an open of a file that is on disk is one by passthrough: it was looked at."""

    def passes(_):
        with opened(server, key):
            return passing(server)

    server.wait_until(passes)
    server.wait_until(lambda counters: counters["passing"] == counters["handles"] == 0)


def is_version(descriptor, version, size=SIZE):
    return os.pread(descriptor, size + 1, 0) == versioned(version, size)


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
def test_who_has_it_open_keeps_the_old_version_and_the_next_open_has_the_new_one(start):
    server = start(ttl_s=0)
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


# ---- the disk


@needs_passthrough
def test_a_byte_that_the_disk_changed_is_fetched_again_and_never_passed_through(server):
    path = bring(server)
    with path.open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"\xff\xfe")
    server.expect_log("do not match their checksum")
    before = server.counters()["corrupt"]

    def is_mended(counters):
        with opened(server) as descriptor:
            assert is_version(descriptor, 1)
            passes = passing(server)
            assert not passes or path.read_bytes() == versioned(1, SIZE)
            return passes and counters["corrupt"] > before

    server.wait_until(lambda counters: is_read(server) and counters["corrupt"] > before)
    bring(server)
    server.wait_until(is_mended)


@needs_passthrough
def test_what_is_right_in_memory_only_is_not_passed_through(start, tmp_path):
    image, disk = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(100 * MIB)
    disk.mkdir()
    made = [["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(disk)]]
    if shutil.which("mkfs.ext4") is None or any(subprocess.run(step, check=False).returncode for step in made):
        pytest.skip("no ext4 here")
    try:
        server = start(cache_dir=disk / "cache")
        server.expect_log("do not match their checksum")
        path = bring(server)
        os.sync()
        with image.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
            content[content.find(versioned(1, SIZE)[3 * MIB : 3 * MIB + 4096])] ^= 1  # below the file system
        server.wait_until(lambda counters: is_read(server) and counters["corrupt"] == 1)
        bring(server)
        wait_passing(server)
        with opened(server) as descriptor:
            drop_pages(path)
            assert is_version(descriptor, 1)
        server.unmount()
        server.wait()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def drop_pages(path):
    """Have the kernel forget what it holds of a file in memory."""
    os.sync()
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@needs_passthrough
def test_what_is_found_wrong_while_it_is_open_is_read_through_the_mount_by_who_opens_it_next(server, tmp_path):
    path = bring(server)
    wait_passing(server)
    with opened(server) as before:
        with path.open("r+b") as file:
            file.seek(3 * MIB)
            file.write(b"\xff\xfe")
        with contextlib.closing(open_cache(tmp_path / "cache")) as other:
            assert sum(bad for _, bad in other.verify()) == 1
        server.wait_until(lambda _: server.call("cached_file", key="file") is None)
        with opened(server) as descriptor:
            assert is_version(descriptor, 1)
            with (tmp_path / "copy").open("wb") as copy:
                assert os.sendfile(copy.fileno(), descriptor, 0, SIZE) == SIZE
            assert (tmp_path / "copy").read_bytes() == versioned(1, SIZE)
        bring(server)  # what was wrong is written anew, into the same file
        assert is_version(before, 1)


@needs_passthrough
def test_with_the_disk_in_trouble_who_opens_what_is_open_already_reads_through_the_mount(server):
    bring(server)
    wait_passing(server)
    with opened(server) as before:
        server.call("trouble")
        server.expect_log("in trouble and left out")
        with opened(server) as descriptor:
            reads = server.counters()["reads"]
            assert is_version(descriptor, 1)
            assert server.counters()["reads"] > reads
        assert is_version(before, 1)


@needs_passthrough
def test_what_is_taken_away_while_it_is_open_is_read_to_its_end_and_its_room_comes_back(start, small_disk):
    disk = small_disk("size=64m")
    empty = disk.used()
    server = start(cache_dir=disk.path)
    bring(server)
    wait_passing(server)
    with opened(server) as descriptor:
        for path in files_of(disk.path):
            path.unlink()
        assert disk.used() - empty > SIZE // 2
        assert is_version(descriptor, 1)
        with opened(server) as another:
            assert is_version(another, 1)
            assert passing(server) == 2
    server.wait_until(lambda _: disk.used() - empty < SIZE // 2)
    for _ in range(3):  # it is known to be gone, or found out: both are right
        with opened(server) as descriptor:
            assert is_version(descriptor, 1)


@needs_passthrough
def test_what_is_open_is_not_evicted(start, tmp_path):
    server = start(cache_size="16MiB")
    bring(server)
    wait_passing(server)
    with opened(server) as descriptor:
        for number in range(8):
            server.set_version(f"other{number}", 1, 3 * MIB)
            bring(server, f"other{number}")
        assert server.call("cached_file", key="file")
        server.wait_until(lambda _: passing(server))
        other = open_cache(tmp_path / "cache", size="16MiB")
        with contextlib.closing(other):
            server.wait_until(lambda _: server.call("told_open") == 1)
            other.clear()
        assert server.call("cached_file", key="file")
        assert is_version(descriptor, 1)


@needs_passthrough
def test_with_the_disk_in_trouble_files_are_opened_through_the_page_cache(server):
    bring(server)
    wait_passing(server)
    server.call("trouble")
    server.expect_log("in trouble and left out")
    with opened(server) as descriptor:
        assert passing(server) == 0
        assert is_version(descriptor, 1)


@needs_passthrough
def test_a_cache_on_overlayfs_takes_two_file_systems_upon_each_other(start, tmp_path):
    parts = [tmp_path / name for name in ("lower", "upper", "work", "disk")]
    for part in parts:
        part.mkdir()
    lower, upper, work, disk = parts
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    if subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(disk)], check=False).returncode:
        pytest.skip("no overlayfs here")
    try:
        server = start(cache_dir=disk / "cache")
        bring(server)
        wait_passing(server)
        with opened(server) as descriptor:
            assert is_version(descriptor, 1)
        told_one = start(cache_dir=disk / "cache", stack_depth=1)
        told_one.expect_log("passthrough is not used")
        bring(told_one)
        told_one.wait_until(lambda _: is_read(told_one) and "off" in told_one.call("tuning")["passthrough"])
        assert "lie upon each other" in told_one.call("tuning")["passthrough"]
        for one in (server, told_one):
            one.unmount()
            one.wait()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def is_read(server):
    with opened(server) as descriptor:
        assert is_version(descriptor, 1)
    return True


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


def test_libfuse_cannot_do_it_and_says_so(start):
    server = start(engine="libfuse")
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
