"""Opening and reading: one version, whole, whatever happens to the object meanwhile."""

import math
import random

import pytest
import trio
import trio.testing

from mountd.errors import (
    DeadlineError,
    DeniedError,
    IsDirectoryError,
    NotDirectoryError,
    NotFoundError,
    StaleHandleError,
    UnavailableError,
)
from mountd.units import KIB, MIB
from mountd.vfs.filesystem import START_AT_OPEN, WHOLE_AT_OPEN
from tests.support.memory_mount import MemoryMount

SIZES = [1, 100_000, WHOLE_AT_OPEN, WHOLE_AT_OPEN + 1, 3 * MIB]
LARGE = 8 * MIB


@pytest.fixture
def make_mount(nursery):
    return lambda **options: MemoryMount(nursery, **options)


@pytest.fixture
def mount(make_mount):
    return make_mount()


# ---- reading


@pytest.mark.parametrize("size", [0, *SIZES])
async def test_a_file_reads_back_whole_and_in_pieces(autojump_clock, mount, size):
    data = mount.put("a", size)
    assert (await mount.kernel.stat("a")).size == size
    assert await mount.kernel.read_file("a") == data
    opened = await mount.kernel.open("a")
    for offset, length in [(0, 1), (size // 2, 70_000), (max(0, size - 1), 10), (size, 10), (size + 5, 10), (0, 0)]:
        assert await mount.kernel.read(opened, offset, length) == data[offset : offset + length]
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


async def test_open_sends_no_head_and_a_small_file_costs_one_request(autojump_clock, mount):
    for number in range(20):
        mount.put(f"k{number}", 1000)
    await mount.kernel.listdir("")
    mount.memory.calls.clear()
    for number in range(20):
        await mount.kernel.read_file(f"k{number}")
    assert mount.memory.calls == {"read": 20}


async def test_the_first_byte_costs_two_requests_time(autojump_clock, mount):
    mount.put("a", LARGE)
    mount.store.there_s = 1.0
    start = trio.current_time()
    opened = await mount.kernel.open("a")
    await mount.kernel.read(opened, 0, 4096)
    assert trio.current_time() - start == pytest.approx(2)
    mount.kernel.close(opened)


async def test_opening_again_what_the_kernel_probably_has_costs_nothing(autojump_clock, mount):
    mount.put("a", 10_000)
    await mount.kernel.read_file("a")
    mount.memory.calls.clear()
    mount.cache._reclaim(64 * MIB, True)
    mount.kernel.close(await mount.kernel.open("a"))
    assert mount.memory.calls == {}


async def test_the_end_of_a_large_file_is_not_its_start(autojump_clock, mount):
    """Readers of a footer did not see the start: open still looks whether the version is there."""
    mount.put("a", LARGE)
    opened = await mount.kernel.open("a")
    await mount.kernel.read(opened, LARGE - 100, 100)
    mount.kernel.close(opened)
    mount.cache._reclaim(64 * MIB, True)
    new = mount.put("a", LARGE)
    opened = await mount.kernel.open("a")
    assert await mount.kernel.read(opened, 0, 100) == new[:100]
    mount.kernel.close(opened)


async def test_two_handles_share_their_bytes(autojump_clock, mount):
    data = mount.put("a", MIB)
    first, second = await mount.kernel.open("a"), await mount.kernel.open("a")
    mount.memory.calls.clear()
    assert await mount.kernel.read(first, 0, MIB) == await mount.kernel.read(second, 0, MIB) == data
    assert mount.memory.calls == {}
    assert mount.fs.bytes_read == 2 * MIB
    mount.kernel.close(first)
    mount.kernel.close(second)


async def test_wrong_kinds_are_refused(autojump_clock, mount):
    mount.put("f")
    mount.put("d/x")
    with pytest.raises(IsDirectoryError):
        await mount.kernel.open("d")
    with pytest.raises(NotDirectoryError):
        await mount.kernel.opendir("f")
    with pytest.raises(NotDirectoryError):
        await mount.fs.lookup((await mount.kernel.stat("f")).ino, b"x")
    with pytest.raises(NotFoundError):
        await mount.kernel.open("none")
    directory = await mount.kernel.opendir("d")
    opened = await mount.kernel.open("f")
    with pytest.raises(StaleHandleError):
        await mount.fs.read(directory.number, 0, 1)
    with pytest.raises(StaleHandleError):
        await mount.fs.entries(opened.number, 0)
    mount.kernel.close(directory)
    mount.kernel.close(opened)
    with pytest.raises(StaleHandleError):
        await mount.fs.read(opened.number, 0, 1)
    mount.fs.release(opened.number)  # twice: nothing happens
    with pytest.raises(StaleHandleError):
        mount.fs.getattr(12345)
    await mount.check_nothing_is_left()


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
    assert mount.memory.calls == {"read": 1}
    assert await mount.kernel.read_file("a", 64 * KIB) == new
    if size <= WHOLE_AT_OPEN:
        assert mount.memory.calls == {"read": 2, "stat": 1, "is_directory": 1}
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


# ---- failures


async def fail(method, key):
    raise UnavailableError("down")


async def denied(method, key):
    raise DeniedError("no")


OPERATIONS = {
    "stat": lambda mount, opened: mount.kernel.stat("b"),
    "open": lambda mount, opened: mount.kernel.open("b"),
    "read": lambda mount, opened: mount.kernel.read(opened, 4 * MIB, 1000),
    "readdir": lambda mount, opened: mount.kernel.listdir("d"),
    "lookup below": lambda mount, opened: mount.kernel.stat("d/x"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("ttl_s", [0.0, 30.0])
@pytest.mark.parametrize("fault", ["unavailable", "denied", "black hole"])
async def test_an_operation_that_failed_works_once_the_store_does(autojump_clock, make_mount, operation, ttl_s, fault):
    mount = make_mount(ttl_s=ttl_s)
    mount.put("a", LARGE)
    mount.put("b", 1000)
    mount.put("d/x")
    opened = await mount.kernel.open("a")
    run = OPERATIONS[operation]
    mount.store.hanging = fault == "black hole"
    mount.store.fault = {"unavailable": fail, "denied": denied}.get(fault)
    start = trio.current_time()
    with pytest.raises(DeniedError if fault == "denied" else DeadlineError):
        await run(mount, opened)
    assert trio.current_time() - start <= 2 * 66, "two tries of the kernel at most"
    refused = [(one.path, one.changed) for one in mount.fs.refusals.latest_first()]
    assert refused == ([("a" if operation == "read" else "b", False)] if operation in {"open", "read"} else refused)
    mount.store.hanging, mount.store.fault = False, None
    result = await run(mount, opened)
    if operation == "open":
        mount.kernel.close(result)
    mount.kernel.close(opened)
    await mount.check_nothing_is_left()


@pytest.mark.parametrize("operation", ["stat", "open", "read"])
async def test_a_store_that_never_answers_is_an_error_at_the_deadline_even_if_its_calls_do_not_end(
    autojump_clock, mount, operation
):
    """The file system's own deadline: nothing below it needs to keep one."""
    mount.put("a", LARGE)
    opened = await mount.kernel.open("a")
    mount.guarded._policy = type(mount.guarded._policy)(deadline_s=1e9)
    mount.store.hanging = True
    start = trio.current_time()
    with pytest.raises(DeadlineError, match="no progress for 65 s"):
        await OPERATIONS[operation](mount, opened)
    assert trio.current_time() - start in (pytest.approx(65), pytest.approx(130))
    mount.kernel.close(opened)


async def test_a_cancelled_open_leaves_nothing_behind(autojump_clock, mount):
    mount.put("a", 1000)
    await mount.kernel.stat("a")
    mount.store.there_s = 10.0
    with trio.move_on_after(5) as scope:
        await mount.kernel.open("a")
    assert scope.cancelled_caught
    assert mount.fs.open_handles == 0
    await mount.check_nothing_is_left()


@pytest.mark.parametrize("after_s", [5, 15])
async def test_a_cancelled_lookup_of_a_doubted_name_leaves_nothing_behind(autojump_clock, mount, after_s):
    """While it asks, and while it fetches the first bytes."""
    mount.put("a", 1000)
    ino = (await mount.kernel.stat("a")).ino
    mount.put("a", 1000)
    with pytest.raises(StaleHandleError):
        await mount.fs.open(ino)
    mount.store.there_s = 10.0
    with trio.move_on_after(after_s) as scope:
        await mount.fs.lookup(1, b"a")
    assert scope.cancelled_caught
    await mount.check_nothing_is_left()


async def test_a_lookup_of_a_doubted_name_that_fails_leaves_nothing_behind(autojump_clock, mount):
    mount.put("a", 1000)
    ino = (await mount.kernel.stat("a")).ino
    mount.put("a", 1000)
    with pytest.raises(StaleHandleError):
        await mount.fs.open(ino)

    async def no_reads(method, key):
        if method == "read":
            raise DeniedError("no")

    mount.store.fault = no_reads
    with pytest.raises(DeniedError):
        await mount.fs.lookup(1, b"a")
    await mount.check_nothing_is_left()


async def test_a_forget_does_not_take_a_node_from_a_lookup_that_fetches_its_first_bytes(autojump_clock, mount):
    mount.put("a", 1000)
    ino = (await mount.kernel.stat("a")).ino
    mount.put("a", 1000)
    with pytest.raises(StaleHandleError):
        await mount.fs.open(ino)
    mount.store.there_s = lambda method, key: 10.0 if method == "read" else 1.0
    found = []

    async def look():
        found.append(await mount.fs.lookup(1, b"a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await trio.sleep(5)
        other = await mount.fs.lookup(1, b"a")
        mount.fs.forget(other.attributes.ino, 1)
    assert mount.fs.getattr(found[0].attributes.ino).size == 1000
    mount.fs.forget(found[0].attributes.ino, 1)
    await mount.check_nothing_is_left()


async def test_open_of_a_stale_inode_leaves_no_node_behind(autojump_clock, mount):
    mount.put("a", 1000)
    ino = (await mount.kernel.stat("a")).ino
    mount.put("a", 1000)
    await trio.sleep(30)
    with pytest.raises(StaleHandleError):
        await mount.fs.open(ino)
    await mount.check_nothing_is_left()


async def test_reads_of_a_file_whose_memory_is_contended_all_end(autojump_clock, make_mount):
    mount = make_mount(memory_bytes=MIB)
    contents = {f"k{number}": mount.put(f"k{number}", 700_000 + number) for number in range(8)}
    mount.store.there_s = 0.5

    async def read(key):
        assert await mount.kernel.read_file(key) == contents[key]

    with trio.fail_after(5000):
        async with trio.open_nursery() as nursery:
            for key in contents:
                for _ in range(2):
                    nursery.start_soon(read, key)
    assert mount.cache.budget.peak <= MIB
    await mount.check_nothing_is_left()
