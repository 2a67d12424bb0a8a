"""A dataset as a file system: every name known, none kept, and no other version ever."""

import pytest
import trio

from mountd.aio.retry import RetryPolicy
from mountd.cache.block_cache import BlockCache
from mountd.errors import NotDirectoryError, NotFoundError, StaleHandleError
from mountd.stores.guarded import GuardedStore
from mountd.stores.memory import MemoryStore
from mountd.tree.pinned import GONE_S, PinnedNamespace
from mountd.units import MIB
from mountd.vfs.filesystem import FileSystem
from tests.support.datasets import dataset_store, spec_of
from tests.support.kernel_model import KernelModel
from tests.support.slow_store import SlowStore
from tests.support.virtual_time import telling_bytes

FILES = {f"{directory}/{n:02}": 100_000 + n for directory in ("d/train/a", "d/train/b", "d/test") for n in range(20)}
FILES["d/big"] = 5 * MIB


class DatasetMount:
    """A mount of a dataset, without FUSE, over a memory store that counts what it is asked for."""

    def __init__(self):
        self.memory = MemoryStore()
        self.content = {}
        for key, size in FILES.items():
            self.put(key, size)
        self.store = SlowStore(self.memory)

    def put(self, key, size, version=0):
        self.content[key] = telling_bytes(f"{key} {version}", size)
        self.memory.set(key, self.content[key])

    async def open(self, nursery):
        dataset = await dataset_store(spec_of("d"), self.memory)
        dataset._members = [self.store]
        self.guarded = GuardedStore(dataset, RetryPolicy())
        self.namespace = PinnedNamespace(dataset.listing)
        self.cache = BlockCache(self._fetch, nursery, limit_bytes=64 * MIB)
        self.fs = FileSystem(
            self.namespace,
            self.cache,
            started_ns=0,
            deadline_s=65,
            ttl_s=float("inf"),
            request_s=lambda: self.guarded.shortest_read.value_s,
        )
        self.kernel = KernelModel(self.fs, longest_s=140)
        return self

    async def _fetch(self, version, wanted):
        return (await self.guarded.read(version.key, wanted.start, wanted.length, if_match=version.etag)).data


@pytest.fixture
async def mount(nursery):
    return await DatasetMount().open(nursery)


async def test_every_file_is_there_with_its_bytes(autojump_clock, mount):
    assert set(await mount.kernel.listdir("")) == {b"train", b"test", b"big"}
    assert set(await mount.kernel.listdir("train")) == {b"a", b"b"}
    assert list(await mount.kernel.listdir("train/a")) == [f"{n:02}".encode() for n in range(20)]
    for key, data in mount.content.items():
        assert await mount.kernel.read_file(key.removeprefix("d/")) == data
    for name in ("x", "train/a/x", "train/a/00/x", "train/a/0", "big/x"):
        with pytest.raises((NotFoundError, NotDirectoryError)):
            await mount.kernel.stat(name)
    assert mount.guarded.calls.keys() == {"read"}  # no listing and no HEAD, ever


async def test_numbers_are_the_same_in_every_mount(autojump_clock, nursery, mount):
    other = await DatasetMount().open(nursery)
    for name in ("train/a/07", "test/00", "big", "train"):
        assert (await mount.kernel.stat(name)).ino == (await other.kernel.stat(name)).ino


async def test_nothing_is_kept_for_what_the_kernel_holds(autojump_clock, mount):
    for name in ("train/a", "train/b", "test"):
        await mount.kernel.listdir(name)
    inodes = mount.namespace.inodes
    assert len(inodes) == len(FILES) + 5
    assert inodes.get(1 + inodes._listing.directories) is not inodes.get(1 + inodes._listing.directories)
    for ino in (0, -1, len(inodes) + 1):
        assert inodes.get(ino) is None
    mount.kernel.drop_caches()
    assert mount.fs.open_handles == 0


async def test_a_second_epoch_asks_for_nothing(autojump_clock, mount):
    for key in mount.content:
        await mount.kernel.read_file(key.removeprefix("d/"))
    reads = mount.guarded.calls["read"]
    for key in mount.content:
        opened = await mount.kernel.open(key.removeprefix("d/"))
        mount.kernel.close(opened)
    assert mount.guarded.calls["read"] == reads


async def test_what_the_kernel_forgot_is_fetched_at_open_again(autojump_clock, mount):
    await mount.kernel.read_file("test/00")
    ino = (await mount.kernel.stat("test/00")).ino
    assert mount.namespace.inodes.get(ino).delivered
    mount.kernel.drop_caches()
    assert not mount.namespace.inodes.get(ino).delivered


@pytest.mark.parametrize("change", ["replace", "delete"])
async def test_a_version_that_is_gone_is_estale_and_costs_one_request(autojump_clock, mount, change):
    if change == "replace":
        mount.put("d/test/03", 100_003, version=1)
    else:
        mount.memory.delete("d/test/03")
    for _ in range(3):
        with pytest.raises(StaleHandleError):
            await mount.kernel.read_file("test/03")
    assert mount.guarded.calls["read"] == 1
    assert mount.namespace.inodes.changed_objects == 1
    (refused,) = mount.fs.refusals.latest_first()
    assert (refused.path, refused.changed) == ("test/03", True)
    assert f"was {change}d in memory since the dataset was pinned" in refused.why
    assert (await mount.kernel.stat("test/03")).size == 100_003  # what was pinned
    assert await mount.kernel.read_file("test/04") == mount.content["d/test/04"]


async def test_a_version_that_is_put_back_is_served_again(autojump_clock, mount):
    held = mount.memory._blobs.pop("d/test/03")
    with pytest.raises(StaleHandleError):
        await mount.kernel.read_file("test/03")
    mount.memory._blobs["d/test/03"] = held
    await trio.sleep(GONE_S)
    assert await mount.kernel.read_file("test/03") == mount.content["d/test/03"]


async def test_an_open_file_never_mixes_versions(autojump_clock, mount):
    old = mount.content["d/big"]
    opened = await mount.kernel.open("big")
    assert await mount.kernel.read(opened, 0, 1000) == old[:1000]
    mount.put("d/big", 5 * MIB, version=1)
    with pytest.raises(StaleHandleError):
        await mount.kernel.read(opened, 4 * MIB, 1000)
    mount.kernel.close(opened)


async def test_a_scan_is_looked_ahead_and_each_file_is_fetched_once(autojump_clock, mount):
    mount.store.back_s = 0.015
    mount.memory.calls.clear()
    keys = [key.removeprefix("d/") for key in sorted(mount.content) if len(mount.content[key]) < MIB]
    began = trio.current_time()
    for key in keys:
        assert await mount.kernel.read_file(key) == mount.content[f"d/{key}"]
    assert trio.current_time() - began < 0.8 * 0.015 * len(keys)
    assert mount.memory.calls == {"read": len(keys)}
