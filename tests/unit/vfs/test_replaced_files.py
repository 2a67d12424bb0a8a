"""One version for each open file, whatever happens to the object meanwhile."""

import math
import random

import pytest
import trio
import trio.testing

from mountd.errors import (
    IsDirectoryError,
    NotDirectoryError,
    NotFoundError,
    StaleHandleError,
)
from mountd.units import KIB, MIB
from mountd.vfs.opens import START_AT_OPEN, WHOLE_AT_OPEN
from tests.support.memory_mount import LARGE, SIZES

# ---- replaced between lookup and open


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("known_by", ["lookup", "listing"])
async def test_replaced_between_lookup_and_open(autojump_clock, mount, size, known_by):
    """Within the TTL: the inode is refused, the kernel looks again, the caller sees the new version only."""
    mount.put("a", size)
    if known_by == "listing":
        await mount.kernel.listdir("")
    old = await mount.kernel.stat("a")
    new = mount.put("a", size)
    mount.memory.calls.clear()
    with pytest.raises(StaleHandleError):
        await mount.fs.open(old.ino)
    assert mount.memory.calls == {"read": mount.tries}
    assert await mount.kernel.read_file("a", 64 * KIB) == new
    if size <= WHOLE_AT_OPEN:
        assert mount.memory.calls == {"read": mount.tries + 1, "stat": 1, "is_directory": 1}
    after = await mount.kernel.stat("a")
    assert (after.ino != old.ino, after.mtime_ns) == (True, old.mtime_ns + 1)
    await mount.check_nothing_is_left()


async def test_deleted_between_lookup_and_open(autojump_clock, mount):
    mount.put("a")
    await mount.kernel.listdir("")
    mount.memory.delete("a")
    with pytest.raises(NotFoundError):
        await mount.kernel.open("a")
    assert await mount.kernel.listdir("") == {}
    mount.put("a")
    await trio.sleep(30)
    mount.kernel.close(await mount.kernel.open("a"))
    await mount.check_nothing_is_left()


async def test_became_a_directory_between_lookup_and_open(autojump_clock, mount):
    mount.put("a")
    await mount.kernel.listdir("")
    mount.memory.delete("a")
    inside = mount.put("a/b")
    with pytest.raises(IsDirectoryError):
        await mount.kernel.open("a")
    assert await mount.kernel.read_file("a/b") == inside
    await mount.check_nothing_is_left()


async def test_a_directory_became_a_file(autojump_clock, mount):
    mount.put("a/b")
    directory = await mount.kernel.opendir("a")
    opened = await mount.kernel.open("a/b")
    mount.memory.delete("a/b")
    data = mount.put("a")
    await trio.sleep(30)
    assert await mount.kernel.read_file("a") == data
    with pytest.raises(NotDirectoryError):
        await mount.kernel.stat("a/b")
    assert [name for name, *_ in await mount.kernel.getdents(directory, 0, 10)] == [b".", b".."]
    mount.kernel.close(directory)
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


@pytest.mark.parametrize("ttl_s", [0.0, 30.0, math.inf])
@pytest.mark.parametrize("size", SIZES)
async def test_replaced_again_at_the_second_lookup_is_not_seen_either(autojump_clock, make_mount, ttl_s, size):
    """The second lookup finds version 2, which is gone again when its first bytes are asked for."""
    mount = make_mount(ttl_s=ttl_s)
    versions = [mount.put("a", size)]
    await mount.kernel.stat("a")
    versions.append(mount.put("a", size))
    reads = 0

    async def replace(method, key):
        nonlocal reads
        if method == "read":
            reads += 1
            if reads in (2, 3):
                versions.append(mount.put("a", size))

    mount.memory.on_call = replace
    opened = await mount.kernel.open("a")
    assert await mount.kernel.read(opened, 0, 1000) == versions[-1][:1000]
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


@pytest.mark.parametrize("ttl_s", [0.0, 30.0])
@pytest.mark.parametrize("listed", [True, False])
async def test_replaced_at_any_of_the_requests_on_the_way_to_the_first_byte(autojump_clock, make_mount, ttl_s, listed):
    """Open finds a version that stays, however unluckily it is replaced on the way; never ESTALE."""
    mount = make_mount(ttl_s=ttl_s)
    failed = []
    for pattern in range(1, 256):
        mount.put(f"k{pattern}", 1000)
    if listed:
        await mount.kernel.listdir("")
    for pattern in range(1, 256):
        key = f"k{pattern}"
        await mount.kernel.stat(key)
        latest = mount.put(key, 1000)
        requests = 0

        async def replace(method, key, pattern=pattern):
            nonlocal requests, latest
            if method in ("stat", "read"):
                if pattern >> requests & 1:
                    latest = mount.put(key, 1000)
                requests += 1

        mount.memory.on_call = replace
        try:
            assert await mount.kernel.read_file(key) == latest
        except StaleHandleError:
            failed.append(f"{pattern:b}")
        mount.memory.on_call = None
    assert failed == []
    await mount.check_nothing_is_left()


async def test_what_was_found_for_a_caller_that_was_refused_is_opened_for_it_whatever_others_find_since(
    autojump_clock, mount
):
    """The kernel looks up again once: a second refusal would reach the program."""
    mount.put("a", 1000)
    old = await mount.kernel.stat("a")
    second = mount.put("a", 1000)
    with pytest.raises(StaleHandleError):
        await mount.fs.open(old.ino, caller=7)
    found = (await mount.fs.lookup(1, b"a", caller=7)).attributes.ino
    mount.put("a", 1000)
    await trio.sleep(30)
    other = (await mount.fs.lookup(1, b"a", caller=8)).attributes.ino
    assert other != found
    with pytest.raises(StaleHandleError):
        await mount.fs.open(found, caller=8)
    number = await mount.fs.open(found, caller=7)
    assert await mount.fs.read(number, 0, 1000) == second
    mount.fs.release(number)
    with pytest.raises(StaleHandleError):
        await mount.fs.open(found, caller=7)
    for ino in (found, other):
        mount.fs.forget(ino, 1)
    await mount.check_nothing_is_left()


# ---- replaced while open


@pytest.mark.parametrize(("before", "after"), [(LARGE, LARGE), (LARGE, 100), (LARGE, 2 * LARGE), (LARGE, None)])
async def test_an_open_file_keeps_its_version_as_far_as_it_is_held(autojump_clock, mount, before, after):
    """Replaced at equal size, shrunk, grown, deleted: what is held is read, the rest is ESTALE, nothing is mixed."""
    old = mount.put("a", before)
    opened = await mount.kernel.open("a")
    assert await mount.kernel.read(opened, 0, 1000) == old[:1000]
    if after is None:
        mount.memory.delete("a")
    else:
        new = mount.put("a", after)
    assert await mount.kernel.read(opened, 1000, 1000) == old[1000:2000]
    assert await mount.kernel.read(opened, before, 10) == b""
    with pytest.raises(StaleHandleError):
        await mount.kernel.read(opened, LARGE - 1000, 1000)
    assert await mount.kernel.read(opened, 500, 1000) == old[500:1500]
    assert mount.fs.getattr(opened.inode.ino).size == before
    if after is None:
        with pytest.raises(NotFoundError):
            await mount.kernel.open("a")
    else:
        assert await mount.kernel.read_file("a") == new
    assert await mount.kernel.read(opened, 0, START_AT_OPEN) == old[:START_AT_OPEN]
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


async def test_a_small_open_file_is_read_to_its_end_after_it_was_replaced(autojump_clock, mount):
    old = mount.put("a", WHOLE_AT_OPEN)
    opened = await mount.kernel.open("a")
    new = mount.put("a", WHOLE_AT_OPEN)
    assert await mount.kernel.read(opened, 0, MIB) == old
    await trio.sleep(30)
    assert await mount.kernel.read_file("a") == new
    assert await mount.kernel.read(opened, 0, MIB) == old
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


async def test_a_change_is_seen_by_open_one_ttl_later_without_any_read_failing(autojump_clock, mount):
    mount.put("a", 1000)
    await mount.kernel.read_file("a")
    new = mount.put("a", 1000)
    await trio.sleep(30)
    assert await mount.kernel.read_file("a") == new
    assert (await mount.kernel.stat("a")).mtime_ns == 2


async def test_estale_on_read_makes_the_next_open_look_again(autojump_clock, make_mount):
    """Also where nothing else ever would: an infinite TTL."""
    mount = make_mount(ttl_s=math.inf)
    mount.put("a", LARGE)
    opened = await mount.kernel.open("a")
    new = mount.put("a", LARGE)
    with pytest.raises(StaleHandleError):
        await mount.kernel.read(opened, 4 * MIB, 1000)
    assert await mount.kernel.read_file("a") == new
    (refused,) = mount.fs.refusals.latest_first()
    assert (refused.path, refused.changed) == ("a", True)
    assert refused.why.startswith("read memory/a: ")
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


@pytest.mark.parametrize("ttl_s", [0.0, 0.5, 30.0, math.inf])
@pytest.mark.parametrize("size", [5000, 2 * MIB])
async def test_replaced_in_a_tight_loop_under_readers_of_every_kind(autojump_clock, make_mount, ttl_s, size):
    """Same size, and as often as every request: each open sees one version, whole or up to ESTALE, never a mixture."""
    mount = make_mount(ttl_s=ttl_s, memory_bytes=16 * MIB)
    versions = {1: mount.put("a", size)}
    current_since = {1: trio.current_time()}
    mount.store.there_s = 0.01
    mount.store.back_s = 0.01
    counts = {"whole": 0, "stale": 0}
    draw = random.Random(size)

    def replace():
        number = len(versions) + 1
        versions[number] = mount.put("a", size)
        current_since[number] = trio.current_time()

    async def writer():
        while True:
            await trio.sleep(0.037)
            replace()

    def fresh_enough(mtime_ns, started):
        return mtime_ns + 1 not in versions or current_since[mtime_ns + 1] >= started - ttl_s

    async def whole():
        started = trio.current_time()
        opened = await mount.kernel.open("a")
        try:
            assert fresh_enough(opened.mtime_ns, started)
            data = b""
            while piece := await mount.kernel.read(opened, len(data), 128 * KIB):
                data += piece
            assert data == versions[opened.mtime_ns]
            counts["whole"] += 1
        except StaleHandleError:
            assert opened.mtime_ns + 1 in versions
            counts["stale"] += 1
        finally:
            mount.kernel.close(opened)

    async def at_random():
        opened = await mount.kernel.open("a")
        try:
            for _ in range(20):
                offset = draw.randrange(size)
                piece = await mount.kernel.read(opened, offset, 9000)
                assert piece == versions[opened.mtime_ns][offset : offset + 9000]
                await trio.sleep(0.01)
        except StaleHandleError:
            counts["stale"] += 1
        finally:
            mount.kernel.close(opened)

    async def statting():
        started = trio.current_time()
        assert fresh_enough((await mount.kernel.stat("a")).mtime_ns, started)

    async def listing():
        started = trio.current_time()
        assert fresh_enough((await mount.kernel.listdir(""))[b"a"].mtime_ns, started)

    async def repeat(action):
        for _ in range(8):
            await action()
            await trio.sleep(0.003)

    with trio.fail_after(3000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer)
            async with trio.open_nursery() as readers:
                for action in (whole, whole, at_random, at_random, statting, listing):
                    readers.start_soon(repeat, action)
            nursery.cancel_scope.cancel()
    if size <= WHOLE_AT_OPEN:
        assert counts == {"whole": 16, "stale": 0}, "small files come whole at open"
    await mount.check_nothing_is_left()
