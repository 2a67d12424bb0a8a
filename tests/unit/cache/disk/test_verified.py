"""Files of the disk cache that the kernel may read itself: whole, looked at once, and the same ever since."""

import contextlib
import ctypes
import errno
import os
import threading

import pytest
import trio
import trio.testing

from mountd.cache.disk import files
from mountd.cache.disk import verified as module
from mountd.cache.disk.verified import VerifiedFiles
from mountd.units import MIB, ByteRange
from tests.support.disk_cache import bytes_of, open_cache, piece_of, version_of
from tests.support.disk_tier import World

pytestmark = pytest.mark.usefixtures("quick")
FILE = version_of("file", 3 * MIB + 5)


class Node(World):
    """A tier, and what the kernel may read of it."""

    def __init__(self, directory, **options):
        super().__init__(directory, **options)
        self.files = VerifiedFiles(self.cache, self.tier)
        self.looks = 0
        self.hold = threading.Event()
        self.hold.set()
        right = self.files._is_right

        def counted(*args):
            assert self.hold.wait(20)
            self.looks += 1
            return right(*args)

        self.files._is_right = counted

    @contextlib.asynccontextmanager
    async def running(self):
        async with super().running(), trio.open_nursery() as nursery:
            nursery.start_soon(self.files.run)
            yield self
            nursery.cancel_scope.cancel()

    async def bring(self, version=FILE):
        for start in range(0, version.size, MIB):
            assert await self.tier.bring(version, ByteRange(start, min(version.size, start + MIB)))

    async def found(self, version=FILE):
        """Return the file once it was looked at."""
        await self.until(lambda: self.files.find(version) is not None)
        return self.files.find(version)

    async def looked(self):
        """Return once nothing waits to be looked at."""
        await self.until(lambda: not self.files._looking)

    async def looks_in_vain(self, *, errors=0):
        """Ask for the file: it is looked at, and not found to be one that may be passed through."""
        assert self.files.find(FILE) is None
        await self.looked()
        assert self.tier.counters.errors == errors
        assert self.files._verified == {}

    def path(self, version=FILE):
        return self.cache.layout.file(self.cache.digest(version))


def write_at(path, position, data):
    with open(path, "r+b") as file:
        file.seek(position)
        file.write(data)


async def test_a_file_that_is_whole_is_looked_at_once_and_then_found(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        assert node.files.find(FILE) is None
        assert node.files.find(FILE) is None
        file = await node.found()
        descriptor = file.open()
        assert os.pread(descriptor, FILE.size + 1, 0) == bytes_of(FILE)
        os.close(descriptor)
        await node.looked()
        assert node.looks == 1


async def test_two_that_were_found_are_equal_as_long_as_the_file_is_the_same(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        before = await node.found()
        assert node.files.find(FILE) == before
        assert len({before, node.files.find(FILE)}) == 1
        node.files.forget(node.cache.digest(FILE), FileNotFoundError())
        assert await node.found() == before  # looked at once more
        os.utime(node.path())
        node.files.forget(node.cache.digest(FILE), FileNotFoundError())
        assert await node.found() != before


async def test_it_is_opened_without_a_thread_where_that_takes_no_disk(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        file = await node.found()
        node.files.is_local = True
        descriptor = file.open_now()
        if descriptor is not None:  # as on most file systems
            assert os.pread(descriptor, FILE.size + 1, 0) == bytes_of(FILE)
            os.close(descriptor)
        os.utime(node.path())
        assert file.open_now() is None
        node.files.is_local = False
        assert (await node.found()).open_now() is None


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_disk_that_fails_when_it_is_opened_keeps_no_descriptor(tmp_path, monkeypatch, at_once):
    async with Node(tmp_path).running() as node:
        await node.bring()
        file = await node.found()
        node.files.is_local = True
        reading, writing = os.pipe()
        os.set_blocking(reading, False)

        def fail(_):
            raise OSError(errno.EIO, "injected")

        with monkeypatch.context() as patching:
            patching.setattr(module, "_identity", fail)
            patching.setattr(module, "open_now", lambda _: writing)
            patching.setattr(files, "open_to_read", lambda _: writing)
            if at_once:
                assert file.open_now() is None
            else:
                with pytest.raises(OSError, match="injected"):
                    file.open()
        assert os.read(reading, 1) == b"", "the other end is closed"
        os.close(reading)


async def test_without_a_thread_to_be_had_the_mount_goes_on(tmp_path, monkeypatch):
    async with Node(tmp_path).running() as node:
        run = node.files._lane.run

        async def refuse(function, *args):
            if function is module.is_local:
                raise RuntimeError("can't start new thread")
            return await run(function, *args)

        monkeypatch.setattr(node.files._lane, "run", refuse)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.files.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert not node.files.is_local


async def test_nobody_waits_and_all_who_ask_share_one_look(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        node.hold.clear()
        assert [node.files.find(FILE) for _ in range(5)] == [None] * 5
        await node.until(lambda: node.files._lane.unfinished)
        assert [node.files.find(FILE) for _ in range(5)] == [None] * 5
        node.hold.set()
        await node.found()
        assert node.looks == 1


async def test_readers_come_between_two_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEP", MIB)
    async with Node(tmp_path).running() as node:
        ways = []

        async def give_way():
            ways.append(node.looks)
            await trio.lowlevel.checkpoint()

        node.tier.give_way = give_way
        await node.bring()
        await node.found()
        assert ways == [0] * 4 + [0, 1, 2, 3], "while it is written, and while it is read"


async def test_what_is_not_whole_is_not_looked_at(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.read(FILE, ByteRange(0, 2 * MIB))
        await node.tier.drain()
        assert node.files.find(FILE) is None
        assert node.files._looking == set()


async def test_a_version_that_has_no_place_in_the_cache_is_none(tmp_path):
    async with Node(tmp_path).running() as node:
        node.cache._place = lambda _: None
        assert node.files.find(FILE) is None


async def test_a_wrong_byte_is_never_passed_through(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        write_at(node.path(), 2 * MIB + 7, b"\0\1")
        await node.looks_in_vain()
        await node.until(lambda: node.cache.gaps(FILE))  # it was counted a moment before
        assert node.cache.corrupt == 1
        assert node.files.find(FILE) is None
        await node.bring()
        await node.found()


async def test_a_file_that_is_longer_than_its_version_is_not_passed_through(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        write_at(node.path(), FILE.size, b"more")
        await node.looks_in_vain()


async def test_a_file_that_changes_while_it_is_looked_at_is_not_passed_through(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        node.hold.clear()
        assert node.files.find(FILE) is None
        await node.until(lambda: node.files._lane.unfinished)
        os.utime(node.path())
        node.hold.set()
        await node.looked()
        assert node.files._verified == {}


async def test_another_file_in_its_place_has_to_be_looked_at_again(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        file = await node.found()
        other = open_cache(tmp_path)
        other.clear()
        other.write([piece_of(FILE)])
        other.close()
        with pytest.raises(FileNotFoundError) as raised:
            file.open()
        file.failed(raised.value)
        assert node.files.find(FILE) is None
        assert not node.tier.in_trouble
        descriptor = (await node.found()).open()
        os.close(descriptor)
        assert node.looks == 2


async def test_what_leaves_the_cache_is_forgotten(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        await node.found()
        node.cache.clear()
        assert node.files.find(FILE) is None
        assert node.files._verified == {}


async def test_results_of_what_nobody_asks_for_any_more_are_forgotten_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FEW", 2)
    versions = [version_of(f"file{index}", MIB + index) for index in range(3)]
    async with Node(tmp_path).running() as node:
        node.files._many = 2
        for version in versions[:2]:
            await node.bring(version)
            await node.found(version)
        node.cache.clear()
        await node.bring(versions[2])
        await node.found(versions[2])
        assert set(node.files._verified) == {node.cache.digest(versions[2])}


async def test_trouble_with_the_disk_ends_it_and_what_was_found_counts_no_more(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        file = await node.found()
        file.failed(OSError(errno.EIO, "injected"))
        assert node.tier.in_trouble
        assert node.files.find(FILE) is None
        await node.until(lambda: not node.tier.in_trouble)
        assert node.files.find(FILE) is None
        await node.found()
        assert node.looks == 2


async def test_a_disk_that_fails_meanwhile_is_in_trouble(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()

        def fail(*_):
            raise OSError(errno.EIO, "injected")

        node.files._is_right = fail
        await node.looks_in_vain(errors=1)


async def test_a_disk_that_does_not_take_the_bytes_is_in_trouble(tmp_path, monkeypatch):
    def fail(*_):
        ctypes.set_errno(errno.EIO)
        return -1

    async with Node(tmp_path).running() as node:
        await node.bring()
        monkeypatch.setattr(files, "_sync_file_range", fail)
        await node.looks_in_vain(errors=1)


async def test_a_file_system_that_writes_no_part_of_a_file_is_taken_as_it_is(tmp_path, monkeypatch):
    def fail(*_):
        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(files, "_sync_file_range", fail)
    async with Node(tmp_path).running() as node:
        await node.bring()
        await node.found()


async def test_a_file_that_goes_while_it_is_looked_at_is_no_trouble(tmp_path, monkeypatch):
    def gone(path, *_):
        raise FileNotFoundError(errno.ENOENT, "injected", path)

    monkeypatch.setattr(files, "open_to_read", gone)
    async with Node(tmp_path).running() as node:
        await node.bring()
        await node.looks_in_vain()


def open_descriptors(path):
    """How many of this process's descriptors are of the file at `path`."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the directory's own
            found += os.readlink(f"/proc/self/fd/{name}") == path
    return found


async def test_it_is_read_through_one_descriptor_from_its_beginning_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEP", MIB)
    read_from, seen = files.read_from, []

    def watched(descriptor, held):
        seen.append((descriptor, *held.wanted))
        return read_from(descriptor, held)

    monkeypatch.setattr(files, "read_from", watched)
    async with Node(tmp_path).running() as node:
        await node.bring()
        await node.found()
        assert len({descriptor for descriptor, *_ in seen}) == 1
        assert [wanted for _, *wanted in seen] == [[at, min(at + MIB, FILE.size)] for at in range(0, FILE.size, MIB)]
        await node.until(lambda: not open_descriptors(node.path()))


async def test_while_a_disk_hangs_its_descriptor_is_not_given_to_another_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEP_S", 0.02)
    async with Node(tmp_path).running() as node:
        await node.bring()
        node.hold.clear()
        assert node.files.find(FILE) is None
        await node.looked()
        assert open_descriptors(node.path()) == 1
        node.hold.set()
        await node.until(lambda: not open_descriptors(node.path()))


async def test_without_a_thread_to_be_had_what_was_opened_is_closed_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    async with Node(tmp_path).running() as node:
        await node.bring()
        monkeypatch.setattr(node.files._lane, "post", refuse)
        await node.found()
        assert not open_descriptors(node.path())


async def test_a_disk_that_hangs_is_in_trouble_and_another_file_is_looked_at_later(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEP_S", 0.02)
    async with Node(tmp_path).running() as node:
        await node.bring()
        node.hold.clear()
        assert node.files.find(FILE) is None
        await node.looked()
        assert node.tier.counters.errors == 1
        monkeypatch.setattr(module, "STEP_S", 20)
        node.hold.set()
        await node.until(lambda: not node.tier.in_trouble)
        await node.found()


async def test_no_more_wait_than_may(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    versions = [version_of(f"file{index}", MIB) for index in range(4)]
    async with Node(tmp_path).running() as node:
        for version in versions:
            await node.bring(version)
        node.hold.clear()
        for version in versions:
            assert node.files.find(version) is None
            await trio.testing.wait_all_tasks_blocked()
        assert len(node.files._looking) == 2
        node.hold.set()
        for version in versions:
            await node.found(version)


async def test_what_is_open_is_kept_as_often_as_it_is_open(tmp_path):
    async with Node(tmp_path).running() as node:
        await node.bring()
        file = await node.found()
        digest = node.cache.digest(FILE)
        file.opened()
        node.files.find(FILE).opened()
        file.closed()
        assert node.cache.open_files.now == {digest}
        file.closed()
        assert node.cache.open_files.now == set()
