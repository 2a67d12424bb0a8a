"""Downloads that are interrupted, cross each other or find no room."""

import errno
import os

import pytest
import trio
import trio.lowlevel

from mountd.errors import (
    NoRoomError,
    UnavailableError,
)
from mountd.stores.memory import MemoryStore
from mountd.transfer.progress import Progress
from tests.support.downloads import BIG, get, tree


async def test_an_interrupted_large_file_goes_on_where_it_was(target):
    store = MemoryStore()
    store.set("big", BIG)

    async def stop(method, key):
        if method == "read" and store.calls["read"] >= 8:
            raise UnavailableError("the network went away")

    store.on_call = stop
    assert (await get(store, target)).problem_count == 1
    assert sorted(os.listdir(target)) == [".big.mountd-journal", ".big.mountd-part"]
    store.on_call = None
    progress = Progress()
    report = await get(store, target, progress=progress)
    assert tree(target) == {"big": BIG}
    assert 0 < report.moved < len(BIG)
    assert progress.size_done == len(BIG)


async def test_an_interrupted_large_file_that_changed_since_starts_afresh(target):
    store = MemoryStore()
    store.set("big", BIG)

    async def stop(method, key):
        if method == "read" and store.calls["read"] >= 8:
            raise UnavailableError("the network went away")

    store.on_call = stop
    await get(store, target)
    store.on_call = None
    store.set("big", bytes(reversed(BIG)))
    report = await get(store, target)
    assert tree(target) == {"big": bytes(reversed(BIG))}
    assert report.moved == len(BIG)


async def test_an_interrupted_overwriting_run_keeps_what_it_replaced(target):
    store = MemoryStore()
    for number in range(20):
        store.set(f"f{number:02}", b"new")
    target.mkdir()
    for number in range(20):
        (target / f"f{number:02}").write_bytes(b"old")

    answered = 0

    async def stop(method, key):
        nonlocal answered
        if method == "read" and answered == 12:
            await trio.sleep_forever()
        answered += method == "read"

    store.on_call = stop
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: get(store, target, overwrite=True))
            while sum(data == b"new" for data in tree(target).values()) < 12:  # noqa: ASYNC110 - threads set no event
                await trio.sleep(0.01)
            await trio.sleep(0.1)  # the twelfth is renamed; let its thread write that down
            nursery.cancel_scope.cancel()
    store.on_call = None
    report = await get(store, target, overwrite=True)
    assert (report.files, report.resumed, report.problem_count) == (8, 12, 0)
    assert set(tree(target).values()) == {b"new"}
    # that run was complete: the next one replaces everything again
    assert (await get(store, target, overwrite=True)).files == 20


@pytest.mark.parametrize("size", [100, len(BIG)])
async def test_a_full_disk_ends_the_run_and_names_the_path(target, monkeypatch, size):
    store = MemoryStore()
    store.set("f", b"x" * size)
    real = os.pwrite
    calls = 0

    def full(descriptor, data, offset):
        nonlocal calls
        calls += 1
        if calls > size // 3000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    with monkeypatch.context() as patched:
        patched.setattr("mountd.transfer.part.os.pwrite", full)
        with pytest.raises(NoRoomError, match=str(target)):
            await get(store, target)
    kept = [".f.mountd-journal", ".f.mountd-part"] if size > 1000 else []
    assert sorted(os.listdir(target)) == kept
    report = await get(store, target)
    assert tree(target) == {"f": b"x" * size}
    assert report.moved < size or size == 100


async def test_a_file_that_appears_under_way_is_left_alone(target):
    store = MemoryStore()
    store.set("big", BIG)
    store.set("small", b"s")

    async def appear(method, key):
        if method == "read":
            (target / key).write_bytes(b"mine")

    store.on_call = appear
    progress = Progress()
    report = await get(store, target, progress=progress)
    assert tree(target) == {"big": b"mine", "small": b"mine"}
    assert (report.files, report.skipped) == (0, 2)
    assert (progress.files_found, progress.size_found, progress.size_done) == (0, 0, 0)


async def test_two_downloads_into_one_directory_do_not_mix(target):
    store = MemoryStore()
    for number in range(20):
        store.set(f"f{number}", os.urandom(3000))

    async def wait(method, key):
        await trio.sleep(0.001)

    store.on_call = wait
    reports = []

    async def one():
        reports.append(await get(store, target, overwrite=True))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(one)
    expected = {key: blob.data for key, blob in store._blobs.items()}
    left = tree(target)
    left.pop(".mountd-download", None)
    assert left == expected
