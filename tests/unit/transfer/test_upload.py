"""Uploads against the reference store: what lands where, what is skipped, what failures and changes do."""

import os
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from mountd.errors import (
    ChangedError,
    CorruptError,
    DeniedError,
    NoRoomError,
    NotDirectoryError,
    NotFoundError,
    ReadOnlyError,
    UnavailableError,
    UsageError,
)
from mountd.stores.memory import MemoryStore
from mountd.transfer import existing as existing_module
from mountd.transfer.limits import TransferLimits
from mountd.transfer.progress import Progress
from mountd.transfer.upload import upload_tree

SMALL = TransferLimits(range_bytes=1000, memory_bytes=8000, files=16, ranges_per_file=4)
BIG = bytes(range(256)) * 40  # 10,240 bytes: 11 parts of 1,000


async def put(source, store, path="", *, overwrite=False, limits=SMALL, progress=None, **options):
    return await upload_tree(
        source, store, path, overwrite=overwrite, progress=progress or Progress(), limits=limits, **options
    )


def contents(store):
    return {key: blob.data for key, blob in store._blobs.items()}


@pytest.fixture
def store():
    return MemoryStore(part_bytes=1000)


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "source"
    (source / "sub" / "void").mkdir(parents=True)
    (source / "a").write_bytes(b"a" * 10)
    (source / ".hidden").write_bytes(b"h")
    (source / "sub" / "big").write_bytes(BIG)
    (source / "sub" / "empty").write_bytes(b"")
    (source / "link").symlink_to("a")
    return source


EXPECTED = {"a": b"a" * 10, ".hidden": b"h", "sub/big": BIG, "sub/empty": b"", "link": b"a" * 10}
SIZE = sum(map(len, EXPECTED.values()))


async def test_the_contents_of_a_directory_land_in_the_target(source, store):
    progress = Progress()
    report = await put(source, store, "t/x", progress=progress)
    assert contents(store) == {f"t/x/{name}": data for name, data in EXPECTED.items()}
    assert (report.files, report.size, report.moved, report.skipped, report.problem_count) == (5, SIZE, SIZE, 0, 0)
    assert progress == Progress(files_found=5, size_found=SIZE, listed=True, files_done=5, size_done=SIZE, moved=SIZE)
    await put(source, store)
    assert contents(store).keys() >= EXPECTED.keys()


async def test_a_file_lands_in_the_target_or_is_the_target_of_its_own_name(source, store):
    await put(source / "a", store, "models")
    await put(source / "a", store, "models/v1/a")
    await put(source / "a", store, "models/v2/a", path_is_directory=True)
    await put(source / "a", store)
    assert contents(store).keys() == {"models/a", "models/v1/a", "models/v2/a/a", "a"}


async def test_what_exists_is_skipped_unless_overwritten(source, store):
    store.set("t/a", b"theirs")
    store.set("t/sub/big", b"theirs")
    progress = Progress()
    report = await put(source, store, "t", progress=progress)
    assert (report.files, report.skipped) == (3, 2)
    assert (progress.files_found, progress.size_found) == (3, SIZE - 10 - len(BIG))
    assert contents(store)["t/a"] == contents(store)["t/sub/big"] == b"theirs"
    assert store.calls["begin_upload"] == 0  # not a byte of it was sent
    report = await put(source, store, "t", overwrite=True)
    assert (report.files, report.skipped) == (5, 0)
    assert contents(store)["t/a"] == b"a" * 10
    assert contents(store)["t/sub/big"] == BIG


async def test_a_single_file_that_exists_is_skipped(source, store):
    store.set("a", b"theirs")
    report = await put(source / "a", store)
    assert (report.files, report.skipped) == (0, 1)
    assert (await put(source / "a", store, overwrite=True)).files == 1


async def test_a_large_target_is_asked_key_by_key(source, monkeypatch):
    monkeypatch.setattr(existing_module, "PAGES", 2)
    store = MemoryStore(page_limit=10, part_bytes=1000)
    for number in range(30):
        store.set(f"t/old{number:02}", b"")
    store.set("t/sub/big", b"theirs")
    report = await put(source, store, "t")
    assert (report.files, report.skipped) == (4, 1)
    assert store.calls["walk_page"] == 2


async def test_a_credential_for_writing_only_is_enough(source, store):
    store.set("t/a", b"theirs")

    async def deny(method, key):
        if method in {"stat", "walk_page", "list_page", "read"}:
            raise DeniedError("writing only")

    store.on_call = deny
    report = await put(source, store, "t")
    assert (report.files, report.skipped, report.problem_count) == (4, 1, 0)


async def test_an_object_is_no_target_directory(source, store):
    store.set("taken", b"x")
    for what in (source, source / "a"):
        with pytest.raises(NotDirectoryError, match="an object is there"):
            await put(what, store, "taken", overwrite=True)
    assert contents(store) == {"taken": b"x"}


async def test_wrong_sources_and_targets_are_named(source, store, tmp_path):
    with pytest.raises(NotFoundError, match="missing"):
        await put(tmp_path / "missing", store)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a directory nor a regular file"):
        await put(tmp_path / "pipe", store)
    with pytest.raises(ReadOnlyError):
        await put(source, MemoryStore(writable=False))


async def test_what_cannot_be_read_is_reported_and_the_rest_arrives(source, store, monkeypatch):
    # Root may read anything, so the kernel's answer is given here.
    real = os.open

    def deny(path, *arguments, **options):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    (source / "dangling").symlink_to("nowhere")
    monkeypatch.setattr("mountd.transfer.source_file.os.open", deny)
    report = await put(source, store)
    assert contents(store).keys() == EXPECTED.keys() - {"a"}
    assert {(Path(problem.name).name) for problem in report.problems} == {"a", "dangling"}
    assert report.problem_count == 2


async def test_unreadable_files_never_look_like_a_store_that_is_gone(tmp_path, store, monkeypatch):
    for number in range(50):
        (tmp_path / f"f{number}").write_bytes(b"x")

    def deny(path, *_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mountd.transfer.source_file.os.open", deny)
    assert (await put(tmp_path, store)).problem_count == 50


@pytest.mark.parametrize("error", [UnavailableError, DeniedError, NotFoundError])
async def test_a_store_that_is_gone_ends_the_upload_early(tmp_path, store, error):
    for number in range(500):
        (tmp_path / f"f{number}").write_bytes(b"x")

    async def fail(method, key):
        if method == "put":
            raise error("the store is gone")

    store.on_call = fail
    with pytest.raises(error, match="the store is gone"):
        await put(tmp_path, store, overwrite=True)
    assert store.calls["put"] < 100


async def test_no_room_in_the_store_ends_the_upload(source, store):
    async def fail(method, key):
        if method in {"put", "part"}:
            raise NoRoomError("the store is full")

    store.on_call = fail
    with pytest.raises(NoRoomError, match="the store is full"):
        await put(source, store)


async def test_a_large_file_that_changes_under_way_is_sent_again(source, store):
    new = bytes(reversed(BIG)) + b"longer"
    changed = False

    async def change(method, key):
        nonlocal changed
        if method == "part" and not changed:
            changed = True
            (source / "sub" / "big").write_bytes(new)

    store.on_call = change
    progress = Progress()
    report = await put(source, store, progress=progress)
    assert contents(store)["sub/big"] == new
    assert (report.files, report.problem_count, progress.restarted) == (5, 0, 1)
    assert progress.size_done == progress.size_found == report.size


async def test_a_file_that_shrinks_under_way_is_sent_again(source, store):
    changed = False

    async def change(method, key):
        nonlocal changed
        if method == "begin_upload" and not changed:
            changed = True
            os.truncate(source / "sub" / "big", 2500)

    store.on_call = change
    await put(source, store)
    assert contents(store)["sub/big"] == BIG[:2500]


async def test_a_file_that_never_rests_is_reported_and_not_published(source, store):
    async def change(method, key):
        if method == "part":
            (source / "sub" / "big").write_bytes(os.urandom(len(BIG)))

    store.on_call = change
    report = await put(source, store)
    assert contents(store).keys() == EXPECTED.keys() - {"sub/big"}
    assert ["changed 6 times" in problem.reason for problem in report.problems] == [True]
    with pytest.raises(ChangedError):
        await put(source / "sub" / "big", store)


async def test_a_file_that_grew_since_the_walk_goes_as_what_it_is_now(source, store):
    limits = TransferLimits(range_bytes=1000, memory_bytes=1000, files=1)
    progress = Progress()

    async def append(method, key):
        # the walk is over by now, and the other files have not been opened
        if method == "put" and key == ".hidden":
            (source / "a").write_bytes(b"b" * 500)
            (source / "sub" / "empty").write_bytes(BIG)

    store.on_call = append
    report = await put(source, store, limits=limits, progress=progress)
    assert contents(store)["a"] == b"b" * 500
    assert contents(store)["sub/empty"] == BIG
    assert report.size == progress.size_found == progress.size_done


async def test_a_file_that_is_deleted_after_the_walk_is_reported(source, store):
    async def delete(method, key):
        if method == "put" and key == ".hidden":
            (source / "link").unlink()

    store.on_call = delete
    report = await put(source, store, limits=TransferLimits(files=1))
    assert contents(store).keys() == EXPECTED.keys() - {"link"}
    assert [Path(problem.name).name for problem in report.problems] == ["link"]


class LosesBytes(MemoryStore):
    """Keeps a byte too few and says so."""

    async def put(self, key, data, *, overwrite=True):
        return await super().put(key, data[:-1], overwrite=overwrite)


async def test_what_the_store_kept_is_checked(source):
    with pytest.raises(CorruptError, match="9 bytes after 10 were sent"):
        await put(source / "a", LosesBytes())


class Crowd:
    """Holds back every call of `method` until `wanted` of them are there; counts the most that ever were."""

    def __init__(self, method, wanted):
        self.method = method
        self.wanted = wanted
        self.here = self.most = 0
        self.complete = trio.Event()

    async def __call__(self, method, key):
        if method != self.method:
            return
        self.here += 1
        self.most = max(self.most, self.here)
        if self.here == self.wanted:
            self.complete.set()
        with trio.fail_after(20):
            await self.complete.wait()
        await trio.lowlevel.checkpoint()
        self.here -= 1


async def test_parts_and_files_are_in_flight_at_once_and_memory_is_kept(tmp_path):
    store = MemoryStore(part_bytes=1000)
    (tmp_path / "big").write_bytes(BIG)
    for number in range(300):
        (tmp_path / f"f{number}").write_bytes(b"x" * 100)
    store.on_call = Crowd("part", 4)
    await put(tmp_path, store, limits=TransferLimits(range_bytes=1000, ranges_per_file=4))
    assert store.on_call.most == 4
    store.on_call = Crowd("put", 255)  # and one worker has the large file
    await put(tmp_path, store, overwrite=True, limits=TransferLimits(range_bytes=1000))
    assert store.on_call.most in {255, 256}
    (tmp_path / "big").unlink()
    store.on_call = Crowd("put", 10)
    await put(tmp_path, store, overwrite=True, limits=TransferLimits(range_bytes=1000, memory_bytes=1000))
    assert store.on_call.most == 10


async def test_the_target_inside_the_source_is_left_out(source, store):
    report = await put(source, store, leave_out=source / "sub")
    assert contents(store).keys() == EXPECTED.keys() - {"sub/big", "sub/empty"}
    assert report.left_out == 1


async def test_cancelling_publishes_nothing_half(source, store):
    async def stick(method, key):
        if method == "part":
            await trio.sleep_forever()

    store.on_call = stick
    with trio.fail_after(10):
        with trio.move_on_after(0.5) as scope:
            await put(source, store)
        assert scope.cancelled_caught
    assert "sub/big" not in contents(store)
    store.on_call = None
    assert (await put(source, store)).problem_count == 0
    assert contents(store) == EXPECTED
