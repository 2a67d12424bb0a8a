"""The descriptors of files that the kernel may read itself: how they are opened, and that each is closed again."""

import contextlib
import errno
import os

import pytest

from mountd.cache.disk import files
from mountd.cache.disk import verified as module
from mountd.units import MIB
from tests.support.disk_cache import bytes_of
from tests.support.verified_files import FILE, Node

pytestmark = pytest.mark.usefixtures("quick")


def open_descriptors(path):
    """How many of this process's descriptors are of the file at `path`."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the directory's own
            found += os.readlink(f"/proc/self/fd/{name}") == path
    return found


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
        await node.looks_at_a_disk_that_hangs()
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
