"""Files of the disk cache that the kernel may read itself: whole, looked at once, and the same ever since."""

import ctypes
import errno
import os

import pytest
import trio
import trio.testing

from mountd.cache.disk import files
from mountd.cache.disk import verified as module
from mountd.units import MIB, ByteRange
from tests.support.disk_cache import bytes_of, open_cache, piece_of, version_of
from tests.support.verified_files import FILE, Node

pytestmark = pytest.mark.usefixtures("quick")


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
        await node.until(node.begun.is_set)
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
        await node.until(node.begun.is_set)
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


async def test_a_disk_that_hangs_is_in_trouble_and_another_file_is_looked_at_later(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEP_S", 0.02)
    async with Node(tmp_path).running() as node:
        await node.looks_at_a_disk_that_hangs()
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
