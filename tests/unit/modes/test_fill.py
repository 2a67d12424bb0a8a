"""What fills the disk: what and when, whether it fits, readers first, and again when it failed."""

import contextlib
import os

import pytest
import trio

from mountd.cache.disk import demand as demand_module
from mountd.cache.disk import tier as tier_module
from mountd.cache.disk import writer as writer_module
from mountd.cache.disk.disk_cache import Piece
from mountd.cache.disk.tier import DiskTier
from mountd.cache.version import ObjectVersion
from mountd.errors import UnavailableError
from mountd.modes import bring, fill
from mountd.modes.bring import Bringer
from mountd.modes.directories_in_use import FILES_IN_USE, TRIED_AGAIN_S, DirectoriesInUse
from mountd.modes.fill import SETTLE_S, Fill, Misses
from mountd.modes.fill_progress import FillProgress
from mountd.stores.memory import MemoryStore
from mountd.units import KIB, MIB, ByteRange, ETag
from tests.support.disk_cache import open_cache

QUEUE = 8 * MIB


class Node:
    """A store, a cache directory, and mounts that fill it."""

    def __init__(self, directory):
        self.directory = directory
        self.store = MemoryStore()
        self.asked = []
        self.failing = False
        self.hold = None

    def put(self, key, size=10_000):
        self.store.set(key, bytes([len(key) % 251]) * size)

    async def fetch(self, version, wanted):
        self.asked.append((version.key, wanted))
        if self.hold is not None:
            await self.hold.wait()
        if self.failing:
            raise UnavailableError("the store is down")
        chunk = await self.store.read(version.key, wanted.start, wanted.length, if_match=version.etag)
        return chunk.data

    @contextlib.asynccontextmanager
    async def mounted(self, *, whole=True, root="", **limits):
        mount = FilledMount(self, whole, root, limits)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.tier.run)
            await mount.tier.wait_ready()
            nursery.start_soon(mount.fill.run)
            yield mount
            nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await mount.tier.aclose()


class FilledMount:
    def __init__(self, node, whole, root, limits):
        self.node = node
        self.cache = open_cache(node.directory, **limits)
        misses = Misses()
        self.tier = DiskTier(self.cache, node.fetch, queue_bytes=QUEUE, on_miss=misses.note)
        bringer = Bringer(node.store, root, self.tier, queue_bytes=QUEUE)
        self.fill = Fill(self.tier, bringer, misses, root=root, identity="store", whole=whole)

    async def until(self, state):
        with trio.fail_after(20):
            while self.fill.progress.state != state:  # noqa: ASYNC110 - what the tasks did is announced to nobody
                await trio.sleep(0.005)

    async def read(self, key):
        info = await self.node.store.stat(key)
        version = ObjectVersion(key, info.etag, info.size)
        return await self.tier.fetch(version, ByteRange(0, info.size))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tier_module, "UPKEEP_EVERY_S", 0.05)
    monkeypatch.setattr(writer_module, "FULL_S", 0.05)
    monkeypatch.setattr(demand_module, "LATELY_S", 0.02)
    monkeypatch.setattr(bring, "ROOM_EVERY_S", 0.02)
    for name in ("FIRST_PAUSE_S", "LOOK_EVERY_S", "COUNTED_EVERY_S"):
        monkeypatch.setattr(fill, name, 0.05)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


class TestWhole:
    async def test_everything_is_brought_and_said(self, node):
        for number in range(30):
            node.put(f"d{number % 3}/{number}", 100_000)
        node.put("empty", 0)
        async with node.mounted() as mount:
            await mount.until("complete")
            assert mount.fill.progress.describe(trio.current_time()) == "complete, served from disk"
            assert (mount.fill.progress.files_done, mount.fill.progress.files_total) == (31, 31)
            node.asked.clear()
            for number in range(30):
                await mount.read(f"d{number % 3}/{number}")
            assert node.asked == []

    async def test_what_does_not_fit_streams_until_there_is_room(self, node):
        for number in range(8):
            node.put(f"{number}", MIB)
        async with node.mounted(size="6MB") as mount:
            await mount.until("streaming")
            said = mount.fill.progress.describe(trio.current_time())
            assert said.startswith("streaming: 8.0 MiB does not fit in ")
            assert node.asked == []
            for number in range(4, 8):
                node.store.delete(f"{number}")
            await trio.sleep(0.3)
            assert node.asked == []  # nobody counts again before there is more room

    async def test_what_failed_is_tried_again(self, node):
        for number in range(40):
            node.put(f"{number:02}", 20_000)
        node.failing = True
        async with node.mounted() as mount:
            await mount.until("failed")
            assert "the store is down" in mount.fill.progress.describe(trio.current_time())
            assert len(node.asked) <= bring.MOST_FAILED + bring.REQUESTS
            node.failing = False
            await mount.until("complete")

    async def test_what_was_evicted_or_added_since_is_brought_once_a_reader_misses_it(self, node):
        for number in range(5):
            node.put(f"{number}", 20_000)
        async with node.mounted() as mount:
            await mount.until("complete")
            mount.cache.clear()
            node.put("new", 20_000)
            await mount.read("3")
            with trio.fail_after(20):
                while mount.cache.totals().complete < 6:  # noqa: ASYNC110
                    await trio.sleep(0.01)

    async def test_of_two_mounts_that_want_the_same_one_brings_it(self, node):
        for number in range(20):
            node.put(f"{number}", 20_000)
        node.hold = trio.Event()
        async with node.mounted() as first:
            await first.until("downloading")
            async with node.mounted() as second:
                await second.until("waiting")
                node.hold.set()
                await first.until("complete")
                await second.until("complete")
            assert len(node.asked) == 20

    async def test_the_rest_is_brought_when_the_one_that_brought_it_is_gone(self, node):
        for number in range(20):
            node.put(f"{number}", 20_000)
        node.hold = trio.Event()
        async with trio.open_nursery() as nursery:
            async with node.mounted() as first:
                await first.until("downloading")
                second = await nursery.start(self._second, node)
                await second.until("waiting")
            node.hold.set()
            await second.until("complete")
            nursery.cancel_scope.cancel()

    @staticmethod
    async def _second(node, task_status):
        async with node.mounted() as second:
            task_status.started(second)
            await trio.sleep_forever()

    async def test_two_mounts_do_not_drive_each_other_out(self, node):
        """Each fits alone: the second streams instead of evicting what the first keeps."""
        for number in range(4):
            node.put(f"a/{number}", MIB)
            node.put(f"b/{number}", MIB)
        async with node.mounted(root="a", size="7MB") as first:
            await first.until("complete")
            async with node.mounted(root="b", size="7MB") as second:
                await second.until("streaming")
                node.asked.clear()
                for number in range(4):
                    await first.read(f"a/{number}")
                assert node.asked == []

    async def test_it_stops_at_once_when_somebody_else_takes_the_disk(self, node, small_disk):
        disk = small_disk("size=40m")
        node.directory = disk.path / "cache"
        for number in range(60):
            node.put(f"{number:02}", 512 * KIB)
        async with node.mounted(reserve=4 * MIB) as mount:
            await mount.until("downloading")
            with (disk.path / "others").open("wb") as others:
                others.write(bytes(20 * MIB))
            await mount.until("streaming")
            # What was on its way when it stopped may still arrive; then there is room again, and nothing more comes.
            here: tuple[int, int] | None = None
            with trio.fail_after(5):
                while here != (now := (len(node.asked), mount.cache.totals().objects)) or disk.free() < 4 * MIB:
                    here = now
                    await trio.sleep(0.2)
            os.unlink(disk.path / "others")
            await mount.until("complete")

    async def test_readers_first(self, node):
        """While a reader waits for the store, one request at a time is under way to fill the disk."""
        for number in range(60):
            node.put(f"{number:02}", 10_000)
        node.put("zz", 10_000)
        node.hold = trio.Event()
        async with node.mounted() as mount, trio.open_nursery() as nursery:
            nursery.start_soon(mount.read, "zz")
            await trio.sleep(0.3)
            assert sum(key != "zz" for key, _ in node.asked) <= 1
            node.hold.set()
            await mount.until("complete")

    async def test_an_object_replaced_meanwhile_is_left_out(self, node):
        node.put("a", 20_000)
        node.put("b", 20_000)
        node.hold = trio.Event()
        async with node.mounted() as mount:
            with trio.fail_after(20):
                while len(node.asked) < 2:  # noqa: ASYNC110
                    await trio.sleep(0.005)
            node.put("b", 30_000)
            node.hold.set()
            await mount.until("complete")
            status = mount.fill.progress.status()
            assert (status.bytes, status.bytes_total, status.files, status.files_total) == (20_000, 20_000, 1, 2)

    async def test_what_readers_kept_meanwhile_counts_as_brought(self, node):
        for number in range(bring.REQUESTS):
            node.put(f"{number:02}", 10_000)
        node.put("zz", 10_000)
        node.hold = trio.Event()
        async with node.mounted() as mount:
            with trio.fail_after(20):
                while len(node.asked) < bring.REQUESTS:  # noqa: ASYNC110
                    await trio.sleep(0.005)
            info = await node.store.stat("zz")
            chunk = await node.store.read("zz", 0, info.size, if_match=info.etag)
            assert mount.cache.write([Piece(ObjectVersion("zz", info.etag, info.size), 0, chunk.data)])
            node.hold.set()
            await mount.until("complete")
            status = mount.fill.progress.status()
            assert (status.bytes, status.files) == (status.bytes_total, status.files_total) == (330_000, 33)
            assert all(key != "zz" for key, _ in node.asked)


class TestDirectories:
    async def test_a_directory_in_use_is_brought_and_no_other(self, node):
        for number in range(10):
            node.put(f"a/{number}")
            node.put(f"a/below/{number}")
            node.put(f"b/{number}")
        async with node.mounted(whole=False) as mount:
            for number in range(FILES_IN_USE - 1):
                await mount.read(f"a/{number}")
                await mount.read(f"b/{number}")
                await mount.read(f"b/{number}")
            await trio.sleep(0.1)
            assert mount.fill.progress.state == ""
            await mount.read("a/7")
            await mount.until("complete")
            assert {key for key, _ in node.asked if key.startswith("a/")} == {f"a/{number}" for number in range(10)}
            assert {key for key, _ in node.asked if not key.startswith("a/")} == {"b/0", "b/1"}

    async def test_each_settles_from_its_own_first_use(self, autojump_clock):
        misses = Misses()
        for directory in "abc":
            for number in range(FILES_IN_USE):
                misses.note(ObjectVersion(f"{directory}/{number}", ETag('"1"'), 1))
        assert [await misses.directory_in_use() for _ in "abc"] == ["a", "b", "c"]
        assert trio.current_time() == pytest.approx(SETTLE_S), "all at once, not one after the other"

    def test_one_that_was_named_is_left_alone_for_a_while(self):
        now = [0.0]
        in_use = DirectoriesInUse(lambda: now[0])
        assert [in_use.missed(f"d/{number}") for number in range(6)] == [None, None, "d", None, None, None]
        now[0] = TRIED_AGAIN_S + 1
        assert [in_use.missed(f"d/{number}") for number in range(6)] == [None, None, "d", None, None, None]
        assert [in_use.missed("e/same") for _ in range(6)] == [None] * 6


class TestPrefetch:
    async def test_patterns_name_paths_below_the_root(self, node):
        for key in ("root/a/1.jpg", "root/a/2.txt", "root/b/1.jpg", "other/1.jpg"):
            node.put(key)
        async with node.mounted(whole=False, root="root") as mount:
            mount.fill.prefetch(["*.jpg"], pinned=False, ticket="1")
            mount.fill.prefetch(["a"], pinned=True, ticket="2")
            mount.fill.prefetch(["nothing"], pinned=False, ticket="3")
            with trio.fail_after(20):
                while not all(progress.is_over for progress in mount.fill.ordered):  # noqa: ASYNC110
                    await trio.sleep(0.005)
            assert [(one.ticket, one.state, one.files_total) for one in mount.fill.ordered] == [
                ("1", "complete", 2), ("2", "complete", 2), ("3", "complete", 0),
            ]  # fmt: skip
            assert sorted(key for key, _ in node.asked) == ["root/a/1.jpg", "root/a/2.txt", "root/b/1.jpg"]
            assert mount.cache.totals().pinned >= 20_000

    async def test_what_was_cleared_a_moment_ago_is_brought_again(self, node, monkeypatch):
        node.put("file")
        monkeypatch.setattr(tier_module, "UPKEEP_EVERY_S", 1e9)
        async with node.mounted(whole=False) as mount:
            for ticket in ("1", "2"):
                mount.fill.prefetch([], pinned=True, ticket=ticket)
                with trio.fail_after(20):
                    while not mount.fill.ordered[-1].is_over:  # noqa: ASYNC110
                        await trio.sleep(0.005)
                other = open_cache(node.directory)
                assert (other.totals().objects, other.totals().pinned > 0) == (1, True)
                other.clear()
                other.close()
            assert len(node.asked) == 2


def test_words():
    progress = FillProgress()
    assert progress.describe(0.0) == ""
    for _ in range(100):
        progress.count(1 << 30, 1 << 30)
    progress.begin(100.0)
    assert progress.describe(100.0) == "downloading 0 %"
    progress.keep(43 << 30)
    assert progress.describe(100.0 + 43 * 12) == "downloading 43 %, 11 min 24 s left"
    progress.does_not_fit(300 << 30)
    assert progress.describe(0.0) == "streaming: 100.0 GiB does not fit in 343.0 GiB"
