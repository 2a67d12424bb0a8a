"""Names and directories, as the kernel asks for them."""

import math

import pytest
import trio
import trio.testing

from mountd.errors import DeadlineError, NameTooLongError, NotFoundError, UnavailableError
from mountd.tree.inodes import ROOT


async def names_from(mount, opened, offset, room=100):
    """Return the names from `offset` to the end, read `room` at a time."""
    found = []
    while entries := await mount.kernel.getdents(opened, offset, room):
        found += [name for name, *_ in entries]
        offset = entries[-1][2]
    return found


# ---- attributes and names


async def test_attributes(autojump_clock, mount):
    mount.put("a", 1234)
    mount.put("d/x")
    root = mount.fs.getattr(ROOT)
    assert (root.ino, root.is_directory, root.mtime_ns) == (ROOT, True, 0)
    assert (await mount.kernel.stat("")) == root
    a = await mount.kernel.stat("a")
    assert (a.is_directory, a.size, a.mtime_ns) == (False, 1234, 1)
    d = await mount.kernel.stat("d")
    assert (d.is_directory, d.size) == (True, 0)
    assert await mount.kernel.listdir("") == {b"a": a, b"d": d}
    capacity = mount.fs.statfs()
    assert capacity.total_bytes >= capacity.free_bytes > 1 << 40
    await mount.check_nothing_is_left()


async def test_dot_and_dot_dot_can_be_looked_up(autojump_clock, mount):
    mount.put("d/e/x")
    d, e = (await mount.fs.lookup(ROOT, b"d")).attributes.ino, None
    e = (await mount.fs.lookup(d, b"e")).attributes.ino
    assert (await mount.fs.lookup(e, b".")).attributes.ino == e
    assert (await mount.fs.lookup(e, b"..")).attributes.ino == d
    assert (await mount.fs.lookup(d, b"..")).attributes.ino == ROOT
    assert (await mount.fs.lookup(ROOT, b"..")).attributes.ino == ROOT
    for ino, count in ((e, 2), (d, 2), (ROOT, 2)):
        mount.fs.forget(ino, count)
    await mount.check_nothing_is_left()


@pytest.mark.parametrize("listed", [True, False])
async def test_a_name_that_is_too_long_is_so_whatever_is_known(autojump_clock, mount, listed):
    if listed:
        await mount.kernel.listdir("")
    with pytest.raises(NameTooLongError):
        await mount.kernel.stat("x" * 256)
    with pytest.raises(NotFoundError):
        await mount.kernel.stat("x" * 255)


async def test_names_that_are_not_utf_8(autojump_clock, mount):
    data = mount.put("caf\udce9/\udcff")
    assert list(await mount.kernel.listdir("")) == [b"caf\xe9"]
    assert await mount.kernel.read_file("caf\udce9/\udcff") == data


async def test_a_change_of_a_name_is_seen_one_ttl_later(autojump_clock, mount):
    mount.put("gone")
    mount.put("changed")
    before = await mount.kernel.listdir("")
    mount.memory.delete("gone")
    mount.put("changed")
    mount.put("new")
    await trio.sleep(29.9)
    assert await mount.kernel.listdir("") == before
    assert await mount.kernel.stat("gone") == before[b"gone"]
    with pytest.raises(NotFoundError):
        await mount.kernel.stat("new")
    await trio.sleep(0.1)
    after = await mount.kernel.listdir("")
    assert list(after) == [b"changed", b"new"]
    assert after[b"changed"].ino != before[b"changed"].ino
    assert await mount.kernel.stat("changed") == after[b"changed"]
    with pytest.raises(NotFoundError):
        await mount.kernel.stat("gone")
    await mount.check_nothing_is_left()


async def test_without_a_ttl_every_change_is_seen_at_once(autojump_clock, make_mount):
    mount = make_mount(ttl_s=0.0)
    for number in range(5):
        mount.put("a", number)
        assert (await mount.kernel.stat("a")).size == number
        assert (await mount.kernel.listdir(""))[b"a"].size == number
        assert len(await mount.kernel.read_file("a")) == number
    mount.memory.delete("a")
    assert await mount.kernel.listdir("") == {}
    with pytest.raises(NotFoundError):
        await mount.kernel.open("a")
    await mount.check_nothing_is_left()


async def test_a_dataset_never_changes(autojump_clock, make_mount):
    mount = make_mount(ttl_s=math.inf)
    data = mount.put("a", 1000)
    mount.put("b", 1000)
    listed = await mount.kernel.listdir("")
    assert await mount.kernel.read_file("a") == data
    mount.memory.delete("b")
    mount.memory.calls.clear()
    autojump_clock.jump(1e8)
    assert await mount.kernel.listdir("") == listed
    assert await mount.kernel.read_file("a") == data
    assert mount.memory.calls == {}


async def test_the_stats_after_a_listing_cost_nothing(autojump_clock, mount):
    for number in range(300):
        mount.put(f"k{number:03}", number)
    mount.memory.page_limit = 50
    await mount.kernel.listdir("")
    assert mount.memory.calls == {"list_page": 6}
    mount.kernel.drop_caches()
    assert [(await mount.kernel.stat(f"k{number:03}")).size for number in range(300)] == list(range(300))
    with pytest.raises(NotFoundError):
        await mount.kernel.stat("none")
    assert mount.memory.calls == {"list_page": 6}


# ---- reading directories


@pytest.mark.parametrize("room", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("page_limit", [1, 4, 1000])
async def test_a_directory_is_read_whole_with_any_buffer_and_any_pages(autojump_clock, mount, room, page_limit):
    mount.memory.page_limit = page_limit
    for number in range(20):
        mount.put(f"d/k{number:02}")
    mount.put("d/z/x")
    mount.store.there_s = 0.1
    opened = await mount.kernel.opendir("d")
    names = await names_from(mount, opened, 0, room)
    assert names[:2] == [b".", b".."]
    assert sorted(names[2:]) == [*[b"k%02d" % n for n in range(20)], b"z"]
    assert await names_from(mount, opened, 9, room) == names[9:]
    assert await mount.kernel.getdents(opened, 23, room) == []
    assert await mount.kernel.getdents(opened, 10_000, room) == []
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


async def test_an_empty_directory_and_one_that_is_not_there(autojump_clock, mount):
    mount.put("d/")
    assert await mount.kernel.listdir("d") == {}
    assert list(await mount.kernel.listdir("")) == [b"d"]
    with pytest.raises(NotFoundError):
        await mount.kernel.listdir("none")


async def test_names_arrive_while_later_pages_load(autojump_clock, mount):
    mount.memory.page_limit = 2
    for name in "abcdef":
        mount.put(name)
    mount.store.there_s = 10.0
    start = trio.current_time()
    opened = await mount.kernel.opendir("")
    assert [name for name, *_ in await mount.kernel.getdents(opened, 0, 100)] == [b".", b".."]
    assert trio.current_time() == start
    assert [name for name, *_ in await mount.kernel.getdents(opened, 2, 100)] == [b"a", b"b"]
    assert trio.current_time() - start == pytest.approx(10)
    assert [name for name, *_ in await mount.kernel.getdents(opened, 4, 100)] == [b"c", b"d"]
    assert [name for name, *_ in await mount.kernel.getdents(opened, 3, 100)] == [b"b", b"c", b"d"]
    assert trio.current_time() - start == pytest.approx(20)
    assert [name for name, *_ in await mount.kernel.getdents(opened, 6, 100)] == [b"e", b"f"]
    assert await mount.kernel.getdents(opened, 8, 100) == []
    mount.kernel.close(opened)


async def test_a_name_that_came_already_is_stated_before_the_listing_ends(autojump_clock, mount):
    mount.memory.page_limit = 1
    for name in "abc":
        mount.put(name)
    mount.store.there_s = 10.0
    opened = await mount.kernel.opendir("")
    await mount.kernel.getdents(opened, 0, 2)
    start = trio.current_time()
    await trio.sleep(10.5)
    mount.memory.calls.clear()
    await mount.kernel.stat("a")
    assert trio.current_time() - start == pytest.approx(10.5)
    assert "stat" not in mount.memory.calls
    mount.kernel.close(opened)


async def test_offsets_are_stable_within_a_handle_and_a_rewind_reads_anew(autojump_clock, mount):
    for name in "abcd":
        mount.put(name)
    opened = await mount.kernel.opendir("")
    assert await names_from(mount, opened, 0) == [b".", b"..", b"a", b"b", b"c", b"d"]
    mount.memory.delete("b")
    mount.put("e")
    await trio.sleep(31)
    assert await names_from(mount, opened, 4) == [b"c", b"d"], "seekdir: what was read before is still in its place"
    assert await names_from(mount, opened, 0) == [b".", b"..", b"a", b"c", b"d", b"e"], "rewinddir"
    assert await names_from(mount, opened, 4) == [b"d", b"e"]
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


async def test_names_that_are_gone_by_now_do_not_end_a_listing_early(autojump_clock, make_mount):
    mount = make_mount(ttl_s=0.0)
    mount.memory.page_limit = 1
    for name in "abc":
        mount.put(name)
    mount.store.there_s = lambda method, key: 10.0 if method == "list_page" else 1.0
    opened = await mount.kernel.opendir("")
    await mount.kernel.getdents(opened, 0, 2)
    await trio.sleep(11)
    mount.memory.delete("a")
    with pytest.raises(NotFoundError):
        await mount.kernel.stat("a")
    assert await names_from(mount, opened, 2) == [b"b", b"c"]
    mount.kernel.close(opened)


async def test_two_readers_of_one_directory_share_its_listing(autojump_clock, mount):
    for number in range(10):
        mount.put(f"k{number}")
    mount.store.there_s = 1.0
    listed = []

    async def read():
        listed.append(list(await mount.kernel.listdir("")))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(read)
    assert listed == [[b"k%d" % n for n in range(10)]] * 4
    assert mount.memory.calls == {"list_page": 1}
    await mount.check_nothing_is_left()


async def test_a_big_directory(autojump_clock, mount):
    for number in range(8_000):
        mount.memory.set(f"{number:05}", b"")
    assert list(await mount.kernel.listdir("", room=6500)) == [b"%05d" % n for n in range(8_000)]
    assert mount.memory.calls == {"list_page": 2}
    mount.kernel.drop_caches()
    assert len(mount.namespace.inodes) == 1


# ---- failures


async def test_a_listing_that_fails_midway_is_an_error_there_and_the_next_one_works(autojump_clock, mount):
    mount.memory.page_limit = 2
    for name in "abcdef":
        mount.put(name)
    calls = 0

    async def fail_after_two(method, key):
        nonlocal calls
        calls += 1
        if calls > 2:
            raise UnavailableError("down")

    mount.store.fault = fail_after_two
    opened = await mount.kernel.opendir("")
    got, offset = [], 0
    while len(got) < 6:
        entries = await mount.kernel.getdents(opened, offset, 100)
        got += [name for name, *_ in entries]
        offset = entries[-1][2]
    assert got == [b".", b"..", b"a", b"b", b"c", b"d"]
    with pytest.raises(DeadlineError):
        await mount.kernel.getdents(opened, offset, 100)
    mount.store.fault = None
    assert await names_from(mount, opened, 0) == [b".", b"..", *[b"%c" % c for c in b"abcdef"]]
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


async def test_a_listing_that_hangs_is_an_error_at_the_deadline(autojump_clock, mount):
    mount.put("a")
    mount.guarded._policy = type(mount.guarded._policy)(deadline_s=1e9)
    mount.store.hanging = True
    opened = await mount.kernel.opendir("")
    await mount.kernel.getdents(opened, 0, 100)
    start = trio.current_time()
    with pytest.raises(DeadlineError, match="readdir"):
        await mount.kernel.getdents(opened, 2, 100)
    assert trio.current_time() - start == pytest.approx(65)
    mount.kernel.close(opened)


async def test_nothing_of_a_read_that_was_not_taken_stays(autojump_clock, mount):
    for number in range(10):
        mount.put(f"k{number}")
    opened = await mount.kernel.opendir("")
    await mount.kernel.getdents(opened, 0, 2)
    for room in (1, 3):
        await mount.kernel.getdents(opened, 2, room)
        assert len(mount.namespace.inodes) == 1 + room
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


async def test_a_cancelled_reader_of_a_directory_stops_nobody(autojump_clock, mount):
    mount.put("a")
    mount.store.there_s = 10.0
    listed = []

    async def read():
        listed.append(list(await mount.kernel.listdir("")))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(5):
            nursery.start_soon(read)
            await mount.kernel.listdir("")
    assert listed == [[b"a"]]
    assert mount.memory.calls == {"list_page": 1}
    await mount.check_nothing_is_left()
