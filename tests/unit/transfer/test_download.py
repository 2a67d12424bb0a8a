"""Downloads from a store in memory: what arrives, and what is said where that fails."""

import os

import pytest
import trio
import trio.lowlevel

from mountd.errors import (
    ChangedError,
    CorruptError,
    DeniedError,
    ExistsError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from mountd.stores.base import Chunk
from mountd.stores.memory import MemoryStore
from mountd.transfer.limits import TransferLimits
from mountd.transfer.progress import Progress
from tests.support.downloads import BIG, get, tree


async def test_a_directory_comes_without_its_own_path(store, target):
    progress = Progress()
    report = await get(store, target, "data", progress=progress)
    assert tree(target) == {"a": b"a" * 10, "sub/big": BIG, "sub/empty": b""}
    assert (target / "void").is_dir()
    assert (target / "sub" / "big").stat().st_mtime == 1_600_000_000
    assert (report.files, report.size, report.moved) == (3, 10 + len(BIG), 10 + len(BIG))
    assert (report.skipped, report.problem_count, report.single_file) == (0, 0, None)
    assert progress == Progress(
        files_found=3, size_found=10_250, listed=True, files_done=3, size_done=10_250, moved=10_250
    )


async def test_the_whole_store_and_a_single_object(store, target, tmp_path):
    assert (await get(store, target)).files == 4
    assert set(tree(target)) == {"data/a", "data/sub/big", "data/sub/empty", "other"}
    report = await get(store, tmp_path / "one", "data/sub/big")
    assert tree(tmp_path / "one") == {"big": BIG}
    assert report.single_file == tmp_path / "one" / "big"


async def test_a_credential_for_one_object_is_enough_for_it(store, target):
    async def deny(method, key):
        if method in {"walk_page", "list_page", "is_directory"}:
            raise DeniedError("reading only")

    store.on_call = deny
    assert (await get(store, target, "data/a")).files == 1
    with pytest.raises(DeniedError):
        await get(store, target, "data")


async def test_an_empty_store_and_an_empty_directory_are_no_errors(target, tmp_path):
    assert (await get(MemoryStore(), target)).files == 0
    assert target.is_dir()
    store = MemoryStore()
    store.set_directory_marker("marked")
    store.set("slashed/", b"")
    assert (await get(store, tmp_path / "m", "marked")).files == 0
    assert (await get(store, tmp_path / "s", "slashed")).files == 0


async def test_nothing_there_is_not_found_and_makes_no_directory(store, target):
    with pytest.raises(NotFoundError, match="no such object or directory"):
        await get(store, target, "missing")
    with pytest.raises(NotFoundError):
        await get(store, target, "dat")
    assert not target.exists()


async def test_what_is_an_object_and_a_directory_is_taken_as_the_directory(target):
    store = MemoryStore()
    store.set("odd", b"object")
    store.set("odd/child", b"child")
    report = await get(store, target, "odd")
    assert tree(target) == {"child": b"child"}
    assert [problem.name for problem in report.problems] == ["odd"]


async def test_hard_names_are_reported_and_neighbours_arrive(target, tmp_path):
    store = MemoryStore()
    bad = ["../escaped", "a//b", "/absolute", "n" * 256, "odd"]
    good = ["a/b", "odd/child", "n" * 255, "back\\slash", "100%25", ".hidden", "dot."]
    for key in bad + good:
        store.set(key, key.encode())
    report = await get(store, target)
    assert tree(target) == {key: key.encode() for key in good}
    assert {problem.name for problem in report.problems} == set(bad)
    assert report.problem_count == len(bad)
    assert os.listdir(tmp_path) == ["target"]


async def test_what_exists_is_skipped_whatever_its_size(store, target):
    target.mkdir()
    (target / "a").write_bytes(b"mine")
    report = await get(store, target, "data")
    assert (report.files, report.skipped) == (2, 1)
    assert (target / "a").read_bytes() == b"mine"
    report = await get(store, target, "data", overwrite=True)
    assert (report.files, report.skipped) == (3, 0)
    assert (target / "a").read_bytes() == b"a" * 10
    assert not (target / ".mountd-download").exists()


async def test_a_single_object_that_exists_is_skipped(store, target):
    target.mkdir()
    (target / "a").write_bytes(b"mine")
    report = await get(store, target, "data/a")
    assert (report.files, report.skipped, report.single_file) == (0, 1, target / "a")
    assert store.calls["read"] == 0


async def test_listings_of_many_pages_and_more_files_than_workers(target):
    store = MemoryStore(page_limit=7)
    for number in range(100):
        store.set(f"d{number % 3}/f{number}", b"%d" % number)
    report = await get(store, target)
    assert report.files == 100
    assert tree(target) == {f"d{number % 3}/f{number}": b"%d" % number for number in range(100)}


class Crowd:
    """Holds back every read until `wanted` of them are there; counts the most that ever were."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.here = self.most = 0
        self.complete = trio.Event()

    async def __call__(self, method, key):
        if method != "read":
            return
        self.here += 1
        self.most = max(self.most, self.here)
        if self.here == self.wanted:
            self.complete.set()
        with trio.fail_after(20):
            await self.complete.wait()
        await trio.lowlevel.checkpoint()
        self.here -= 1


async def test_many_small_files_are_in_flight_at_once_and_memory_is_kept(target):
    store = MemoryStore()
    for number in range(400):
        store.set(f"f{number}", b"x" * 100)
    store.on_call = Crowd(256)
    await get(store, target, limits=TransferLimits())
    assert store.on_call.most == 256
    store.on_call = Crowd(10)
    await get(store, target, overwrite=True, limits=TransferLimits(range_bytes=100, memory_bytes=1000))
    assert store.on_call.most == 10


async def test_the_ranges_of_a_large_file_are_in_flight_at_once(target):
    store = MemoryStore()
    store.set("big", BIG)
    store.on_call = Crowd(4)
    await get(store, target)
    assert store.on_call.most == 4
    assert tree(target) == {"big": BIG}


@pytest.mark.parametrize("nth", [1, 2, 7, 11])
async def test_a_change_under_way_gives_the_new_version_and_never_a_mixture(target, nth):
    store = MemoryStore()
    store.set("big", BIG)
    new = bytes(reversed(BIG))
    count = 0

    async def change(method, key):
        nonlocal count
        count += method == "read"
        if method == "read" and count == nth:
            store.set("big", new)

    store.on_call = change
    progress = Progress()
    report = await get(store, target, progress=progress)
    assert tree(target) == {"big": new}
    assert (report.files, report.problem_count) == (1, 0)
    assert progress.restarted == 1
    assert progress.size_done == len(new)


async def test_a_change_of_size_or_of_a_small_file_is_followed(target):
    store = MemoryStore()
    store.set("grows", b"small")
    store.set("shrinks", BIG)
    once = {"grows": BIG, "shrinks": b"now small"}

    async def change(method, key):
        if method == "read" and key in once:
            store.set(key, once.pop(key))

    store.on_call = change
    report = await get(store, target)
    assert tree(target) == {"grows": BIG, "shrinks": b"now small"}
    assert report.size == len(BIG) + 9


async def test_an_object_that_never_rests_is_reported_and_the_rest_arrives(target):
    store = MemoryStore()
    store.set("restless", BIG)
    store.set("calm", b"c")

    async def change(method, key):
        if method == "read" and key == "restless":
            store.set("restless", os.urandom(len(BIG)))

    store.on_call = change
    report = await get(store, target)
    assert tree(target) == {"calm": b"c"}
    assert [problem.name for problem in report.problems] == ["restless"]
    assert "replaced 6 times" in report.problems[0].reason


async def test_a_single_object_that_never_rests_is_the_runs_error(target):
    store = MemoryStore()
    store.set("restless", b"1")

    async def change(method, key):
        if method == "read":
            store.set("restless", os.urandom(5))

    store.on_call = change
    with pytest.raises(ChangedError):
        await get(store, target, "restless")


@pytest.mark.parametrize("size", [5, len(BIG)])
async def test_an_object_that_is_deleted_under_way_is_reported(target, size):
    store = MemoryStore()
    store.set("gone", b"g" * size)
    store.set("stays", b"s")

    async def delete(method, key):
        if method == "read" and key == "gone" and "gone" in store._blobs:
            store.delete("gone")

    store.on_call = delete
    report = await get(store, target)
    assert tree(target) == {"stays": b"s"}
    assert [(problem.name, "deleted" in problem.reason) for problem in report.problems] == [("gone", True)]


class ShortReads(MemoryStore):
    """Answers with a byte too few."""

    async def read(self, key, start, length, *, if_match):
        chunk = await super().read(key, start, length, if_match=if_match)
        return Chunk(chunk.data[:-1], chunk.etag, chunk.size) if key == "short" else chunk


@pytest.mark.parametrize("size", [5, len(BIG)])
async def test_bytes_missing_from_an_answer_never_make_a_file(target, size):
    store = ShortReads()
    store.set("short", b"x" * size)
    store.set("whole", b"w")
    report = await get(store, target)
    assert [problem.name for problem in report.problems] == ["short"]
    assert (target / "whole").read_bytes() == b"w"
    assert not (target / "short").exists()
    with pytest.raises(CorruptError):
        await get(store, target, "short")


async def test_one_failure_is_reported_and_the_rest_arrives(store, target):
    async def fail(method, key):
        if method == "read" and key == "data/a":
            raise DeniedError("read data/a: no permission; ask for it")

    store.on_call = fail
    report = await get(store, target)
    assert set(tree(target)) == {"data/sub/big", "data/sub/empty", "other"}
    assert report.problems[0].reason == "read data/a: no permission; ask for it"


@pytest.mark.parametrize("error", [UnavailableError, DeniedError])
async def test_a_store_that_is_gone_ends_the_run_early(target, error):
    store = MemoryStore()
    for number in range(1000):
        store.set(f"f{number}", b"x")

    async def fail(method, key):
        if method == "read":
            raise error("the store is gone")

    store.on_call = fail
    with pytest.raises(error, match="the store is gone"):
        await get(store, target)
    assert store.calls["read"] < 100


async def test_failures_with_successes_between_do_not_end_the_run(target):
    store = MemoryStore()
    for number in range(100):
        store.set(f"f{number:03}", b"x")

    async def fail(method, key):
        if method == "read" and int(key[1:]) % 2:
            raise UnavailableError("not this one")

    store.on_call = fail
    report = await get(store, target, limits=TransferLimits(files=1))
    assert (report.files, report.problem_count) == (50, 50)


async def test_a_listing_that_fails_is_the_runs_error(target):
    store = MemoryStore(page_limit=2)
    for number in range(10):
        store.set(f"f{number}", b"x")

    async def fail(method, key):
        if method == "walk_page" and store.calls["walk_page"] == 3:
            raise UnavailableError("no page")

    store.on_call = fail
    with pytest.raises(UnavailableError, match="no page"):
        await get(store, target)


async def test_a_single_object_with_an_impossible_name_is_a_usage_error(target):
    store = MemoryStore()
    store.set("d/" + "n" * 300, b"x")
    with pytest.raises(UsageError, match="more than 255 bytes"):
        await get(store, target, "d/" + "n" * 300)


async def test_a_directory_where_the_single_file_must_be_is_an_error(store, target):
    (target / "a").mkdir(parents=True)
    with pytest.raises(ExistsError, match="a directory is at"):
        await get(store, target, "data/a", overwrite=True)


async def test_cancelling_leaves_at_once_and_can_be_resumed(target):
    store = MemoryStore()
    store.set("big", BIG)
    store.set("small", b"s")

    async def stick(method, key):
        if method == "read" and store.calls["read"] > 5:
            await trio.sleep_forever()

    store.on_call = stick
    with trio.move_on_after(0.5) as scope:
        await get(store, target)
    assert scope.cancelled_caught
    store.on_call = None
    report = await get(store, target)
    assert tree(target) == {"big": BIG, "small": b"s"}
    assert report.problem_count == 0
