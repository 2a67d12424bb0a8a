"""Small files of a directory that is scanned are there before they are opened: sooner, never older, never twice."""

import math
import random

import pytest
import trio

from mountd.units import KIB, MIB
from tests.support.memory_mount import MemoryMount

FAR_S = 0.015
COUNT = 300


@pytest.fixture
def make_mount(nursery):
    def make(**options):
        mount = MemoryMount(nursery, **options)
        mount.store.there_s = mount.store.back_s = FAR_S / 2
        return mount

    return make


async def filled(mount, count=COUNT, size=20_000, directory="d"):
    """Put files and list them; return their bytes by key."""
    content = {f"{directory}/{number:04}": mount.put(f"{directory}/{number:04}", size) for number in range(count)}
    await mount.kernel.listdir(directory)
    mount.memory.calls.clear()
    return content


async def read_all(mount, content, keys, workers=1):
    """Read files and check every byte; return how many requests' time it took."""
    began = trio.current_time()
    left = list(reversed(keys))

    async def work():
        while left:
            key = left.pop()
            assert await mount.kernel.read_file(key) == content[key], key

    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(work)
    return (trio.current_time() - began) / FAR_S


@pytest.mark.parametrize("workers", [1, 8])
async def test_a_scan_takes_a_fraction_of_the_requests_time_and_each_request_is_made_once(
    autojump_clock, make_mount, workers
):
    mount = make_mount()
    content = await filled(mount)
    took = await read_all(mount, content, sorted(content), workers)
    assert took < 0.2 * COUNT / workers + 10
    assert mount.memory.calls == {"read": COUNT}
    await mount.check_nothing_is_left()


async def test_opens_in_no_order_cost_what_they_did(autojump_clock, make_mount):
    mount = make_mount()
    content = await filled(mount)
    keys = sorted(content)
    random.Random(3).shuffle(keys)
    assert await read_all(mount, content, keys[: COUNT // 2]) <= COUNT / 2 + 1
    assert mount.memory.calls["read"] <= COUNT / 2 + 8
    await mount.check_nothing_is_left()


async def test_a_store_that_is_near_is_not_asked_ahead(autojump_clock, make_mount):
    mount = make_mount()
    mount.store.there_s = mount.store.back_s = 0.0005
    content = await filled(mount)
    await read_all(mount, content, sorted(content)[:50])
    assert mount.memory.calls == {"read": 50}


async def test_what_changes_meanwhile_is_as_fresh_as_ever_and_never_a_mixture(autojump_clock, make_mount):
    mount = make_mount(ttl_s=5.0)
    content = await filled(mount)
    history = {key: [(0.0, data)] for key, data in content.items()}
    draw = random.Random(5)
    keys = sorted(content)
    for at, key in enumerate(keys):
        for _ in range(2):
            other = keys[min(COUNT - 1, at + draw.randrange(70))]
            history[other].append((trio.current_time(), mount.put(other, 20_000)))
        began = trio.current_time()
        data = await mount.kernel.read_file(key)
        versions = history[key]
        (which,) = [index for index, (_, version) in enumerate(versions) if version == data]
        replaced_at = versions[which + 1][0] if which + 1 < len(versions) else math.inf
        assert replaced_at >= began - mount.ttl_s, "older than one time to live"
    await mount.check_nothing_is_left()


async def test_who_wants_to_be_asked_each_time_is(autojump_clock, make_mount):
    mount = make_mount(ttl_s=0.0)
    content = await filled(mount, 50)
    for key in sorted(content):
        latest = mount.put(key, 20_000)
        assert await mount.kernel.read_file(key) == latest
    assert mount.memory.calls["read"] == 50


async def test_only_as_far_as_memory_goes(autojump_clock, make_mount):
    mount = make_mount(memory_bytes=256 * KIB)
    content = await filled(mount, 100, 60_000)
    await read_all(mount, content, sorted(content), workers=2)
    assert mount.memory.calls["read"] == 100
    assert mount.cache.budget.peak <= 256 * KIB
    await mount.check_nothing_is_left()


async def test_large_and_empty_files_and_directories_are_passed_over(autojump_clock, make_mount):
    mount = make_mount()
    content = {}
    for number in range(60):
        key, size = f"d/{number:04}", (0, 3 * MIB, 1000, 1000)[number % 4]
        content[key] = mount.put(key, size)
        mount.put(f"d/{number:04}x/below")
    await mount.kernel.listdir("d")
    mount.memory.calls.clear()
    small = [key for key, data in content.items() if len(data) == 1000]
    await read_all(mount, content, small)
    assert mount.memory.calls == {"read": len(small)}
    await mount.check_nothing_is_left()


async def test_what_was_read_is_not_fetched_again(autojump_clock, make_mount):
    mount = make_mount(memory_bytes=1 * MIB)
    content = await filled(mount, 200)
    keys = sorted(content)
    for key in keys[100:]:
        assert await mount.kernel.read_file(key) == content[key]
    fetched = mount.memory.calls["read"]
    await read_all(mount, content, keys[:100])
    assert mount.memory.calls["read"] - fetched <= 100
    assert fetched <= 100


async def test_a_store_that_dies_ends_no_mount(autojump_clock, make_mount):
    mount = make_mount(deadline_s=5.0)
    content = await filled(mount)
    keys = sorted(content)
    await read_all(mount, content, keys[:100])
    mount.store.hanging = True
    await trio.sleep(30)
    mount.store.hanging = False
    await read_all(mount, content, keys[100:])
