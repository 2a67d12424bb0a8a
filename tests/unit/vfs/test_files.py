"""Opening and reading: the bytes of one version, whole, and what is told where that fails."""

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
from mountd.units import MIB
from tests.support.memory_mount import LARGE, SIZES

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
