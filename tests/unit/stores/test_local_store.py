"""What a local directory has and a flat store has not: links, special files, odd bytes, writers in place."""

import errno
import os
import socket
import stat
import threading
import time

import pytest
import trio

from mountd.errors import (
    ChangedError,
    IsDirectoryError,
    MountdError,
    NotDirectoryError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from mountd.stores import local_version
from mountd.stores.local import LocalStore
from mountd.stores.local_names import UPLOAD_PREFIX


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(tmp_path))


def write_in_place(path, data):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        assert os.write(descriptor, data) == len(data)
    finally:
        os.close(descriptor)


async def listed(store, directory=""):
    page = await store.list_page(directory)
    return sorted(info.key for info in page.objects), sorted(page.directories)


async def walked(store, directory=""):
    page = await store.walk_page(directory)
    return sorted(info.key for info in page.objects), sorted(page.directories)


async def content(store, key):
    return bytes((await store.read(key, 0, 1000, if_match=None)).data)


async def test_links_are_followed_while_they_lead_somewhere(store, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "far").write_bytes(b"far")
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_bytes(b"near")
    (tmp_path / "to-file").symlink_to("real/file")
    (tmp_path / "to-directory").symlink_to("real")
    (tmp_path / "to-outside").symlink_to(outside)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    assert await listed(store) == (["to-file"], ["real", "to-directory", "to-outside"])
    assert await listed(store, "to-outside") == (["to-outside/far"], [])
    assert await content(store, "to-file") == b"near"
    assert await content(store, "to-outside/far") == b"far"
    for key in ("dangling", "self"):
        with pytest.raises(NotFoundError):
            await store.stat(key)
        with pytest.raises(NotFoundError):
            await store.read(key, 0, 1, if_match=None)
        assert not await store.is_directory(key)


async def test_circles_of_directories_end(store, tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").write_bytes(b"x")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/b/up").symlink_to("../../a")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/d").symlink_to("../e")
    (tmp_path / "e").mkdir()
    (tmp_path / "e/f").symlink_to("../c")
    assert await listed(store, "a") == (["a/file"], ["a/b"])
    assert await listed(store, "a/b") == ([], [])
    keys, directories = await walked(store)
    assert keys == ["a/file"]
    assert directories == ["a", "a/b", "c", "c/d", "e", "e/f"]
    for hidden in ("a/up", "a/up/a", "a/b/up", "c/d/f"):
        assert not await store.is_directory(hidden)
        assert await listed(store, hidden) == ([], [])
        assert await walked(store, hidden) == ([], [])


async def test_pipes_sockets_and_devices_are_hidden_and_do_not_block(store, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        (tmp_path / "null").symlink_to("/dev/null")
        (tmp_path / "file").write_bytes(b"x")
        assert await listed(store) == (["file"], [])
        assert await walked(store) == (["file"], [])
        for key in ("pipe", "socket", "null"):
            with pytest.raises(NotFoundError), trio.fail_after(5):
                await store.stat(key)
            with pytest.raises(NotFoundError), trio.fail_after(5):
                await store.read(key, 0, 1, if_match=None)


async def test_names_that_are_not_utf8(store, tmp_path):
    name = b"latin-\xe9-\xff"
    os.mkdir(os.fsencode(tmp_path) + b"/d" + name)
    write_in_place(os.fsencode(tmp_path) + b"/d" + name + b"/" + name, b"x")
    key = name.decode("utf-8", "surrogateescape")
    assert await listed(store) == ([], [f"d{key}"])
    assert await listed(store, f"d{key}") == ([f"d{key}/{key}"], [])
    assert (await walked(store))[0] == [f"d{key}/{key}"]
    assert await content(store, f"d{key}/{key}") == b"x"
    info = await store.put(f"new{key}", memoryview(b"y"))
    assert await store.stat(f"new{key}") == info
    assert b"new" + name in os.listdir(os.fsencode(tmp_path))


async def test_empty_directories_are_directories(store, tmp_path):
    (tmp_path / "empty/deeper").mkdir(parents=True)
    assert await listed(store) == ([], ["empty"])
    assert await walked(store) == ([], ["empty", "empty/deeper"])
    assert await store.is_directory("empty/deeper")
    with pytest.raises(IsDirectoryError):
        await store.stat("empty")


async def test_a_walk_goes_deeper_than_python_recurses(store, tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    depth = 1100
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=descriptor)
            below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    finally:
        os.close(descriptor)
    assert len((await walked(store))[1]) == depth
    path = tmp_path
    for _ in range(depth):
        path = path / "d"
    for _ in range(depth):
        os.rmdir(path)
        path = path.parent


async def test_keys_never_leave_the_directory(tmp_path):
    (tmp_path / "root/sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    store = LocalStore(str(tmp_path / "root"))
    for key in ("../secret", "sub/../../secret", "..", "/etc/hostname", "sub//../../secret", f"{tmp_path}/secret"):
        with pytest.raises(NotFoundError):
            await store.stat(key)
        with pytest.raises(NotFoundError):
            await store.read(key, 0, 10, if_match=None)
        with pytest.raises(UsageError):
            await store.put(key, memoryview(b"mine"))
        assert await listed(store, key) == ([], [])
        assert not await store.is_directory(key)
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert sorted(os.listdir(tmp_path)) == ["root", "secret"]


async def test_a_root_that_is_missing_or_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(NotFoundError, match="no such directory; create it"):
        await LocalStore(str(tmp_path / "missing")).list_page("")
    with pytest.raises(NotFoundError, match="no such directory; create it"):
        await LocalStore(str(tmp_path / "missing")).walk_page("below")
    with pytest.raises(NotDirectoryError, match="not a directory"):
        await LocalStore(str(tmp_path / "file")).list_page("")


async def test_the_root_of_the_file_system():
    store = LocalStore("/")
    assert "etc" in (await store.list_page("")).directories
    assert await store.is_directory("etc")
    assert await listed(store, "etc/.") == ([], [])


async def test_files_of_unfinished_uploads_are_hidden(store, tmp_path):
    upload = await store.begin_upload("d/new", 3)
    await upload.part(0, memoryview(b"new"))
    [hidden] = os.listdir(tmp_path / "d")
    assert hidden.encode().startswith(UPLOAD_PREFIX)
    assert await listed(store, "d") == ([], [])
    with pytest.raises(NotFoundError):
        await store.stat(f"d/{hidden}")
    with pytest.raises(UsageError):
        await store.put(f"d/{hidden}", memoryview(b""))
    await upload.abort()
    assert os.listdir(tmp_path / "d") == []


async def test_a_failed_write_leaves_no_hidden_file(store, tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsDirectoryError):
        await store.put("taken", memoryview(b"x"))
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(NotDirectoryError):
        await store.put("file/below", memoryview(b"x"))
    with pytest.raises(MountdError):
        await store.put("file", memoryview(b"y"), overwrite=False)
    assert sorted(os.listdir(tmp_path)) == ["file", "taken"]


async def test_a_part_in_flight_when_its_upload_is_aborted_hits_nothing(store, tmp_path):
    upload = await store.begin_upload("new", 1 << 20)
    data = memoryview(bytes(1 << 20))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload.part, 0, data)
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    await upload.abort()
    assert os.listdir(tmp_path) == []


async def test_written_files_follow_the_umask_and_their_parents_exist(store, tmp_path):
    before = os.umask(0o027)
    try:
        await store.put("deep/er/file", memoryview(b"x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "deep/er/file").st_mode) == 0o640


async def test_writing_in_place_at_equal_size_is_a_new_version_each_time(store, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"0000")
    seen = set()
    for index in range(30):
        write_in_place(path, b"%04d" % index)
        info = await store.stat("a")
        assert info.etag not in seen
        seen.add(info.etag)
        assert bytes((await store.read("a", 0, 4, if_match=info.etag)).data) == b"%04d" % index


async def test_a_kept_modification_time_does_not_hide_a_change(store, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old!")
    times = os.stat(path)
    before = await store.stat("a")
    path.write_bytes(b"new!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (await store.stat("a")).mtime_ns == before.mtime_ns
    with pytest.raises(ChangedError):
        await store.read("a", 0, 4, if_match=before.etag)


def status(ctime_ns):
    return os.stat_result((0o100644, 1, 0, 1, 0, 0, 4, 0, 0, 0), {"st_mtime_ns": 5, "st_ctime_ns": ctime_ns})


def test_a_young_status_is_not_trusted():
    now = 10**18
    assert local_version.is_settled(status(now - 10**9), now)
    assert local_version.is_settled(status(now + 10**12), now)
    assert not local_version.is_settled(status(now), now)
    assert not local_version.is_settled(status(now - 10**6), now)


def test_a_status_settles_by_waiting():
    looks = []

    def look():
        looks.append(status(start))
        return looks[-1]

    start = time.time_ns()
    _, settled = local_version.settle(look)
    assert settled
    assert len(looks) > 1
    assert time.time_ns() - start >= local_version.TICK_S * 1e9


async def test_a_file_that_never_rests_has_etags_that_match_nothing(store, tmp_path, monkeypatch):
    (tmp_path / "busy").write_bytes(b"x")
    monkeypatch.setattr(local_version, "is_settled", lambda status, now_ns: False)
    first, second = await store.stat("busy"), await store.stat("busy")
    assert first.etag != second.etag
    with pytest.raises(ChangedError):
        await store.read("busy", 0, 1, if_match=first.etag)
    with pytest.raises(UnavailableError, match="being written"):
        await store.read("busy", 0, 1, if_match=None)
    [info] = (await store.list_page("")).objects
    with pytest.raises(ChangedError):
        await store.read("busy", 0, 1, if_match=info.etag)


async def test_under_a_writer_in_place_no_read_mixes_versions(store, tmp_path):
    """The writer leaves the file at rest for longer than a tick now and then, as real ones do."""
    path, size = tmp_path / "a", 64 << 10
    path.write_bytes(bytes(size))
    over = threading.Event()

    def write():
        version = 0
        while not over.wait(0.03 if version % 3 == 0 else 0.001):
            version += 1
            write_in_place(path, bytes([version % 256]) * size)

    writer = threading.Thread(target=write)
    writer.start()
    whole, changed = 0, 0
    give_up_at = time.monotonic() + 20
    try:
        while (whole < 10 or changed < 10) and time.monotonic() < give_up_at:
            info = await store.stat("a")
            for _ in range(20):
                try:
                    chunk = await store.read("a", 0, size, if_match=info.etag)
                except ChangedError:
                    changed += 1
                    break
                whole += 1
                assert len(set(bytes(chunk.data))) == 1
    finally:
        over.set()
        writer.join()
    assert whole >= 10
    assert changed >= 10


async def test_a_failing_disk_is_no_empty_directory(store, tmp_path, monkeypatch):
    """What cannot be looked at must not vanish from a listing: absence is an answer that gets cached."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_bytes(b"x")
    look = os.stat

    def failing(path, *args, **options):
        if os.fsencode(path).endswith((b"/a", b"/e")):
            raise OSError(errno.EIO, "the disk is broken")
        return look(path, *args, **options)

    monkeypatch.setattr(os, "stat", failing)
    for call in (store.list_page("d"), store.walk_page(""), store.stat("d/a"), store.is_directory("e")):
        with pytest.raises(UnavailableError, match="Input/output error"):
            await call


async def test_an_upload_that_was_given_up_before_its_first_write_makes_nothing(store, tmp_path):
    upload = await store.begin_upload("d/new", 3)
    await upload.abort()
    with pytest.raises(FileNotFoundError):
        upload._hidden.write_at(0, memoryview(b"late"))
    assert os.listdir(tmp_path) == []


async def test_a_short_page_keeps_nothing_in_memory(store, tmp_path):
    for index in range(4):
        (tmp_path / f"k{index}").write_bytes(b"")
    page = await store.list_page("", limit=1)
    assert page.next is not None
    assert store._rests._rests == {}
    page = await store.list_page("", page.next, limit=2)
    assert [info.key for info in page.objects] == ["k1", "k2"]


async def test_a_rest_of_a_listing_that_was_dropped_is_scanned_again(tmp_path):
    for index in range(5):
        (tmp_path / f"k{index}").write_bytes(b"")
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / f"d/k{index}").write_bytes(b"")
    store = LocalStore(str(tmp_path), page_limit=2)
    for ask in (store.list_page, store.walk_page):
        first = await ask("")
        for _ in range(40):
            await ask("")  # other listings push the first one's rest out
        keys = [info.key for info in first.objects]
        directories = list(first.directories)
        marker = first.next
        while marker is not None:
            page = await ask("", marker)
            keys += [info.key for info in page.objects]
            directories += page.directories
            marker = page.next
        expected = [f"k{index}" for index in range(5)]
        if ask == store.walk_page:
            expected += [f"d/k{index}" for index in range(5)]
        assert sorted(keys) == sorted(expected)
        assert directories == ["d"]


async def test_a_directory_is_in_the_way_of_a_file_and_nothing_to_be_skipped(tmp_path):
    (tmp_path / "d").mkdir()
    store = LocalStore(str(tmp_path))
    for overwrite in (True, False):
        with pytest.raises(IsDirectoryError, match="a directory has this name"):
            await store.put("d", memoryview(b"x"), overwrite=overwrite)
    assert list(tmp_path.iterdir()) == [tmp_path / "d"]
