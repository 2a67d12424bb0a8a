"""Reads without a thread: the bytes of the file or a no, at once, and nothing of it left behind."""

import contextlib
import errno
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from mountd.aio import kernel_reads, page_cache
from mountd.aio.buffers import cut_out, unfilled, unfilled_on
from mountd.aio.kernel_reads import BLOCK, KernelReads
from mountd.units import KIB, MIB

SIZE = 3 * MIB + 12_345
RANGES = [(0, MIB), (64 * KIB, 100_000), (MIB, SIZE), (0, SIZE), (MIB, 2 * MIB + 1), (2 * MIB, SIZE), (0, 1)]


@pytest.fixture
def data():
    return os.urandom(SIZE)


@pytest.fixture
def path(tmp_path, data):
    made = tmp_path / "file"
    made.write_bytes(data)
    with made.open("rb") as file:
        os.fdatasync(file)  # bytes that are still to be written cannot be read around
    return str(made)


@contextlib.asynccontextmanager
async def serving(most=8):
    """Reads that are served until the last of them has ended."""
    reads = KernelReads(most)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reads.run)
        await trio.testing.wait_all_tasks_blocked()
        yield reads
        await all_ended(reads)
        nursery.cancel_scope.cancel()


async def all_ended(reads):
    with trio.fail_after(5):
        while reads.under_way:  # noqa: ASYNC110 - the kernel's events are what is being tested
            await trio.sleep(0.001)


def drop(path):
    """Take a file out of the page cache, where the file system has one apart from itself."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.fixture
def out_of_memory(monkeypatch, path):
    """Whatever the kernel did meanwhile: no page is held."""
    monkeypatch.setattr(kernel_reads, "is_mostly_in_memory", lambda *_: False)
    drop(path)


@pytest.fixture
def in_memory(path):
    return Path(path).read_bytes()


def reads_around(path):
    """Whether the file system of this machine's temporary directory can do it at all."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_DIRECT)
        os.preadv(descriptor, [unfilled_on(BLOCK, BLOCK)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def copies_without_waiting(path):
    """Whether that file system gives what it has in memory to who must not wait."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT) == 1
    except OSError:
        return False
    finally:
        os.close(descriptor)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.usefixtures("out_of_memory")
@pytest.mark.parametrize(("start", "stop"), RANGES)
async def test_the_bytes_on_the_disk_are_those_of_the_file(path, data, start, stop):
    async with serving() as reads:
        got = await reads.read(path, start, stop)
        assert (got is not None) == reads_around(path)
        assert got is None or got == data[start:stop]


@pytest.mark.parametrize(("start", "stop"), RANGES)
@pytest.mark.usefixtures("in_memory")
async def test_bytes_in_memory_are_copied(path, data, start, stop):
    async with serving() as reads:
        got = await reads.read(path, start, stop)
        assert (got is not None) == copies_without_waiting(path)
        assert got is None or got == data[start:stop]


@pytest.mark.usefixtures("out_of_memory")
async def test_a_file_that_ends_early_gives_what_there_is_and_nothing_else(path, data):
    async with serving() as reads:
        got = await reads.read(path, MIB, 8 * MIB)
        assert got is None or got == data[MIB:]
        got = await reads.read(path, 16 * MIB, 20 * MIB)
        assert got is None or got == b""


@pytest.mark.usefixtures("out_of_memory")
async def test_many_at_once_each_get_their_own_and_more_than_fit_are_refused(path, data):
    got = {}

    async def read(reads, number):
        start = number * 64 * KIB
        got[start] = await reads.read(path, start, start + 64 * KIB)

    async with serving(most=8) as reads, trio.open_nursery() as nursery:
        for number in range(32):
            nursery.start_soon(read, reads, number)
    assert len(got) == 32
    right = [start for start, found in got.items() if found is not None]
    assert all(got[start] == data[start : start + 64 * KIB] for start in right)
    if reads_around(path):
        assert len(right) >= 8


@pytest.mark.usefixtures("out_of_memory")
async def test_who_is_cancelled_leaves_at_once_and_the_read_ends_by_itself(path, data):
    before = descriptors()
    async with serving() as reads:
        for _ in range(50):
            with trio.CancelScope() as scope:
                scope.cancel()
                await reads.read(path, 0, MIB)
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(reads.read, path, 0, SIZE)
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await all_ended(reads)
        got = await reads.read(path, 0, MIB)
        assert got is None or got == data[:MIB]
    assert descriptors() == before


@pytest.mark.usefixtures("out_of_memory")
async def test_who_waits_when_it_ends_is_sent_to_a_thread(path):
    before, answers = descriptors(), []
    reads = KernelReads(8)

    async def read():
        answers.append(await reads.read(path, 0, SIZE))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(reads.run)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(read)
                await trio.lowlevel.checkpoint()
                scope.cancel()
    assert len(answers) == 1
    assert await reads.read(path, 0, SIZE) is None
    if not reads.under_way:
        assert descriptors() == before


async def test_nothing_is_read_before_it_is_served(path):
    assert await KernelReads(8).read(path, 0, MIB) is None


async def test_what_is_no_file_is_left_to_the_thread_and_holds_nobody_up(tmp_path, path):
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    before = descriptors()
    began = time.monotonic()
    for name in ("absent", "link", "fifo", "directory"):
        async with serving() as reads:
            assert await reads.read(str(tmp_path / name), 0, MIB) is None
    assert time.monotonic() - began < 5
    assert descriptors() == before


@pytest.mark.usefixtures("out_of_memory")
@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EIO])
async def test_what_fails_once_is_tried_again_the_next_time(path, data, monkeypatch, number):
    async with serving() as reads:
        with monkeypatch.context() as patch:

            def fail(*_):
                raise OSError(number, "no")

            patch.setattr(KernelReads, "_start", fail)
            assert await reads.read(path, 0, MIB) is None
        got = await reads.read(path, 0, MIB)
        assert (got is not None) == reads_around(path)


@pytest.mark.usefixtures("out_of_memory")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS])
async def test_what_cannot_be_done_is_not_tried_again(path, monkeypatch, number):
    tries = []

    def refuse(*_):
        tries.append(1)
        raise OSError(number, "no")

    monkeypatch.setattr(KernelReads, "_start", refuse)
    async with serving() as reads:
        for _ in range(3):
            assert await reads.read(path, 0, MIB) is None
    assert len(tries) == 1


@pytest.mark.usefixtures("out_of_memory")
async def test_what_ends_before_the_file_does_is_read_in_a_thread_not_taken_for_damage(path, monkeypatch):
    """Where the kernel would have had to wait in the middle, it may stop there."""

    async def stopped(self, started):
        await KernelReads_end_of(self, started)
        return 64 * KIB

    KernelReads_end_of = KernelReads._end_of  # noqa: N806 - the method
    monkeypatch.setattr(KernelReads, "_end_of", stopped)
    async with serving() as reads:
        assert await reads.read(path, 0, MIB) is None
        assert await reads.read(path, MIB, SIZE) is None


@pytest.mark.usefixtures("out_of_memory")
async def test_reading_leaves_the_time_of_access_alone(path):
    """Else the first read of each file would begin a transaction of the file system, which may wait."""
    os.utime(path, ns=(1, 2))
    async with serving() as reads:
        await reads.read(path, 0, MIB)
    assert os.stat(path).st_atime_ns == 1


def test_only_file_systems_that_ask_nobody_are_local(tmp_path):
    assert kernel_reads.is_local(str(tmp_path))
    assert not kernel_reads.is_local("/proc")
    with pytest.raises(FileNotFoundError):
        kernel_reads.is_local(str(tmp_path / "absent"))


async def test_without_a_descriptor_for_it_all_is_left_to_threads(path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EMFILE, "no")

    monkeypatch.setattr(os, "eventfd", refuse)
    async with serving() as reads:
        assert await reads.read(path, 0, MIB) is None


async def test_a_kernel_without_such_calls_leaves_all_to_threads(path, monkeypatch):
    monkeypatch.setattr(kernel_reads, "_IO_SETUP", 100_000)
    async with serving() as reads:
        assert await reads.read(path, 0, MIB) is None


def test_no_buffer_of_an_unfinished_read_is_used_for_anything_else(path):
    """Loops that end amid reads, over and over, beside threads that take memory: the kernel writes to no other's."""

    async def cut_short():
        with trio.move_on_after(0.001):
            async with serving() as reads, trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(reads.read, path, 0, SIZE)

    for _ in range(20):
        drop(path)
        thread = threading.Thread(target=trio.run, args=(cut_short,))
        thread.start()
        others = [bytearray(64 * KIB) for _ in range(64)]
        thread.join()
        assert not any(any(other) for other in others)


class TestPageCache:
    """What is told of a file's pages, by either way."""

    @pytest.fixture(params=["cachestat", "mincore"])
    def told(self, request, monkeypatch):
        if request.param == "mincore":
            monkeypatch.setattr(page_cache, "_CACHESTAT", 100_000)
        return page_cache.is_mostly_in_memory

    def test_pages_in_memory_and_pages_that_were_dropped(self, told, path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.pread(descriptor, SIZE, 0)
            assert told(descriptor, 0, 2 * MIB)
            assert told(descriptor, 2 * MIB, SIZE)
            drop(path)
            # A file system that lives in memory drops nothing, and cannot read around it either.
            assert told(descriptor, 0, 2 * MIB) != reads_around(path)
        finally:
            os.close(descriptor)

    def test_a_file_that_ends_before_harms_nothing(self, told, path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            told(descriptor, 2 * MIB, 100 * MIB)
            told(descriptor, 100 * MIB, 101 * MIB)
            os.truncate(path, 0)
            told(descriptor, 0, MIB)
        finally:
            os.close(descriptor)


@pytest.mark.parametrize("count", [0, 1, 4096, 5 * MIB])
def test_unfilled_buffers_have_their_length_and_can_be_written(count):
    buffer = unfilled(count)
    assert len(buffer) == count
    buffer[:] = bytes(count)
    assert buffer == bytes(count)
    view = unfilled_on(4096, count)
    assert view.nbytes == count
    assert not view.readonly


def test_what_is_cut_out_of_a_buffer_does_not_keep_it():
    whole = memoryview(bytes(range(200)))
    assert cut_out(whole, 0, 200) is whole
    for start, stop in ((0, 199), (1, 200), (7, 7), (50, 60)):
        part = cut_out(whole, start, stop)
        assert (bytes(part), len(part.obj)) == (bytes(range(start, stop)), stop - start)
