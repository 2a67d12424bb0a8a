"""Any operations, in any order and side by side, over a store that changes, stalls and fails: what must always hold.

The reference is the history of the store: every state it was ever in, with the time. Whatever an operation that ran
from `began` to `ended` says must have been true at some instant between `began` less one TTL and `ended`, and a read
gives bytes of the one version its file was opened in, or ESTALE if that version was replaced. No request takes longer
than its deadlines allow. With all files closed and all names forgotten, nothing is left, and the mount shows what
the store holds.
"""

import math
import random
from typing import NamedTuple

import pytest
import trio
import trio.testing
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

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
from tests.support.memory_mount import MemoryMount
from tests.support.virtual_time import run_virtual

KEYS = ["a", "b", "d", "d/x", "d/y", "d/e/z"]
PATHS = [*KEYS, "d/e", "none", "d/none"]
DIRECTORIES = ["", "d", "d/e"]
SIZES = [0, 1, 5000, 5000, 300_000, 1_300_000]
LINGER_S = 140.0
"""A request that was sent during a fault may fail this much later, and others may wait for it."""


class Version(NamedTuple):
    """What the store holds under a key; the time of modification tells versions apart."""

    mtime_ns: int
    data: bytes


class History:
    """Every state the store was in."""

    def __init__(self):
        self.states = [(-math.inf, {})]

    def now_holds(self, objects):
        self.states.append((trio.current_time(), dict(objects)))

    def between(self, start, stop):
        """Return the states at all instants from `start` to `stop`, both included."""
        found = []
        for number, (since, objects) in enumerate(self.states):
            until = self.states[number + 1][0] if number + 1 < len(self.states) else math.inf
            if since <= stop and until >= start:
                found.append(objects)
        return found


def child_of(directory, name):
    return f"{directory}/{name}" if directory else name


def seen_in(objects, path):
    """Return what a path is in one state: "directory", a `Version`, or None."""
    if path == "" or any(key.startswith(path + "/") for key in objects):
        return "directory"
    return objects.get(path)


def matches(attributes, seen):
    """Whether attributes are those of what was seen."""
    if attributes.is_directory or not isinstance(seen, Version):
        return attributes.is_directory and seen == "directory"
    return (attributes.mtime_ns, attributes.size) == (seen.mtime_ns, len(seen.data))


class Model:
    """Runs operations on a mount and judges what they say."""

    def __init__(self, mount, draw, starved):
        self.mount = mount
        self.starved = starved
        """Memory is so short, and the store so slow, that a large read may not come in before its deadline."""
        self.kernel = mount.kernel
        self.draw = draw
        self.history = History()
        self.objects = {}
        self.versions = {}
        self.files = []
        self.directories = []
        self.faults = []
        """When each fault began and ended."""
        self.small_pages = False
        """Listings may have had several pages: until the last one is here, a file may hide that it is shadowed."""

    # ---- judging

    def states(self, began):
        return self.history.between(began - self.mount.ttl_s, trio.current_time())

    def sights(self, path, began):
        """Return what a path may be seen as."""
        for objects in self.states(began):
            yield seen_in(objects, path)
            if self.small_pages and path in objects:
                yield objects[path]

    def faulty_since(self, began):
        return any(start <= trio.current_time() and stop + LINGER_S >= began for start, stop in self.faults)

    async def attempt(self, operation, began=None, *, stale_if=lambda: False, missing=None):
        """Return the result of `operation`, or None after an error that is all right."""
        began = trio.current_time() if began is None else began
        try:
            return await operation()
        except (UnavailableError, DeniedError) as error:
            starved = isinstance(error, DeadlineError) and self.starved
            assert starved or self.faulty_since(began), "an error without a fault"
        except StaleHandleError as error:
            assert "not known" not in str(error), "the kernel was told an inode that is not there"
            assert stale_if(), "ESTALE for a version that is still there"
        except NotDirectoryError:
            parents = [missing.rpartition("/")[0], missing.partition("/")[0], missing]
            assert any(isinstance(seen, Version) for path in parents for seen in self.sights(path, began))
        except IsDirectoryError:
            assert "directory" in self.sights(missing, began)
        except NotFoundError:
            assert None in self.sights(missing, began), "it was there all the time"
        return None

    def check_attributes(self, path, attributes, began):
        assert any(matches(attributes, seen) for seen in self.sights(path, began)), "it never was that within the TTL"

    def check_listing(self, directory, found, began):
        for name, attributes in found.items():
            self.check_attributes(child_of(directory, name.decode()), attributes, began)
        for path in PATHS:
            parent, _, name = path.rpartition("/")
            if parent == directory and name.encode() not in found:
                assert None in self.sights(path, began), "a name is missing that was there all the time"

    # ---- what happens to the store

    def set(self, key, size):
        data = self.mount.put(key, size)
        version = Version(self.mount.memory._blobs[key].info.mtime_ns, data)
        self.objects[key] = self.versions[version.mtime_ns] = version
        self.history.now_holds(self.objects)

    def delete(self, key):
        if key in self.objects:
            self.mount.memory.delete(key)
            del self.objects[key]
            self.history.now_holds(self.objects)

    def fault(self, kind):
        if self.faults and self.faults[-1][1] == math.inf:
            self.faults[-1] = (self.faults[-1][0], trio.current_time())
        if kind != "none":
            self.faults.append((trio.current_time(), math.inf))
        store = self.mount.store
        store.hanging = kind == "hangs"
        store.fault = None if kind in ("none", "hangs") else self._raising(kind)

    def _raising(self, kind):
        async def fail(method, key):
            if kind == "denied":
                raise DeniedError("no")
            if kind == "down" or (kind == "flaky" and self.draw.random() < 0.5):
                raise UnavailableError("down", retry_after_s=self.draw.choice([None, 5.0]))
            if kind == "no listings" and method in ("list_page", "is_directory"):
                raise UnavailableError("no listings")

        return fail

    # ---- operations

    async def stat(self, path):
        began = trio.current_time()
        attributes = await self.attempt(lambda: self.kernel.stat(path), missing=path)
        if attributes is not None:
            self.check_attributes(path, attributes, began)

    async def open(self, path):
        began = trio.current_time()
        opened = await self.attempt(
            lambda: self.kernel.open(path), missing=path, stale_if=lambda: self._may_be_refused(path, began)
        )
        if opened is None:
            return None
        self.check_attributes(path, self.mount.fs.getattr(opened.inode.ino), began)
        opened.path = path
        return opened

    def _may_be_refused(self, path, began):
        """Only if what the last look at the name brought was evicted before it could be opened, and replaced again."""
        versions = {s.get(path) for s in self.history.between(began, trio.current_time())}
        return self.mount.cache.budget.limit <= MIB and len(versions) > 1

    async def keep_open(self, path):
        opened = await self.open(path)
        if opened is not None:
            self.files.append(opened)

    async def read_file(self, path, step):
        opened = await self.open(path)
        if opened is None:
            return
        position, size = 0, len(self.versions[opened.mtime_ns].data)
        while position < size and await self.read(opened, position, step):
            position += step
        self.kernel.close(opened)

    async def read(self, opened, offset, length):
        """Read and check; return whether it succeeded."""
        version = self.versions[opened.mtime_ns]
        data = await self.attempt(
            lambda: self.kernel.read(opened, offset, length),
            stale_if=lambda: self.objects.get(opened.path) != version,
        )
        assert data is None or data == version.data[offset : offset + length], "not the bytes of the opened version"
        return data is not None

    async def read_some(self, which, offset, length):
        if self.files:
            opened = self.files[which % len(self.files)]
            size = len(self.versions[opened.mtime_ns].data)
            await self.read(opened, offset % (size + 10), length)

    async def listdir(self, path, room):
        began = trio.current_time()
        found = await self.attempt(lambda: self.kernel.listdir(path, room), missing=path)
        if found is not None:
            self.check_listing(path, found, began)

    async def keep_opendir(self, path):
        opened = await self.attempt(lambda: self.kernel.opendir(path), missing=path)
        if opened is not None:
            opened.path, opened.offset, opened.began, opened.found = path, 0, trio.current_time(), {}
            self.directories.append(opened)

    async def getdents(self, which, room, rewind):
        if not self.directories:
            return
        opened = self.directories[which % len(self.directories)]
        if opened.busy:
            return  # one stream has one reader at a time
        if rewind:
            opened.offset, opened.found = 0, {}
        if opened.offset == 0:
            opened.began = trio.current_time()
        entries = await self.attempt(lambda: self.kernel.getdents(opened, opened.offset, room), opened.began)
        if entries is None:
            return
        for name, attributes, next_offset in entries:
            assert next_offset > opened.offset
            opened.offset = next_offset
            if name not in (b".", b".."):
                assert name not in opened.found
                opened.found[name] = attributes
                self.check_attributes(child_of(opened.path, name.decode()), attributes, opened.began)
        if not entries:
            self.check_listing(opened.path, opened.found, opened.began)

    async def close(self, which):
        kept = [opened for opened in self.files + self.directories if not opened.busy]
        if kept:
            self.close_one(kept[which % len(kept)])

    def close_one(self, opened):
        (self.files if opened in self.files else self.directories).remove(opened)
        self.kernel.close(opened)

    # ---- running

    async def run(self, op):
        name, *args = op
        if name == "advance":
            await trio.sleep(*args)
        elif name == "forget":
            self.kernel.drop_caches()
        elif name == "page limit":
            (self.mount.memory.page_limit,) = args
            self.small_pages = True
        elif name in ("set", "delete", "fault"):
            getattr(self, name)(*args)
        else:
            await getattr(self, name)(*args)

    async def end(self):
        """Close everything; the mount must then show what the store holds, and keep nothing."""
        self.fault("none")
        self.mount.memory.page_limit = 1000
        self.mount.store.there_s = self.mount.store.back_s = 0.0
        for opened in self.files + self.directories:
            self.close_one(opened)
        if self.mount.ttl_s < math.inf:
            await trio.sleep(self.mount.ttl_s + LINGER_S)
            for path in ["", *PATHS]:
                await self.check_exactly(path)
        await self.mount.check_nothing_is_left()

    async def check_exactly(self, path):
        seen = seen_in(self.objects, path)
        try:
            attributes = await self.kernel.stat(path)
        except (NotFoundError, NotDirectoryError):
            assert seen is None
            return
        assert matches(attributes, seen)
        if seen == "directory":
            prefix = path + "/" if path else ""
            names = {key[len(prefix) :].partition("/")[0] for key in self.objects if key.startswith(prefix)}
            assert {name.decode() for name in await self.kernel.listdir(path)} == names
        else:
            assert await self.kernel.read_file(path) == seen.data


key = st.sampled_from(KEYS)
path = st.sampled_from(PATHS)
directory = st.sampled_from(DIRECTORIES)
which = st.integers(0, 7)
room = st.integers(1, 9)
length = st.sampled_from([1, 4096, 100_000, 128 * KIB, MIB])

changes = st.one_of(
    st.tuples(st.just("set"), key, st.sampled_from(SIZES)),
    st.tuples(st.just("delete"), key),
)
operations = st.one_of(
    st.tuples(st.just("stat"), path),
    st.tuples(st.just("keep_open"), path),
    st.tuples(st.just("read_some"), which, st.integers(0, 2 * MIB), length),
    st.tuples(st.just("read_file"), path, length.filter(lambda step: step > 4096)),
    st.tuples(st.just("listdir"), directory, room),
    st.tuples(st.just("keep_opendir"), directory),
    st.tuples(st.just("getdents"), which, room, st.booleans()),
)
the_rest = st.one_of(
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.5, 3.0, 29.0, 31.0, 100.0])),
    st.tuples(st.just("forget")),
    st.tuples(st.just("close"), which),
    st.tuples(st.just("page limit"), st.sampled_from([1, 2, 1000])),
    st.tuples(st.just("fault"), st.sampled_from(["none", "none", "down", "flaky", "denied", "hangs", "no listings"])),
)
step = st.tuples(st.one_of(operations, operations, changes, the_rest), st.booleans())
steps = st.lists(step, max_size=20) | st.lists(step, min_size=20, max_size=80)


async def drive(steps, ttl_s, memory_bytes, latencies, quick, seed):
    """Run the steps; those marked run beside the ones that follow."""
    draw = random.Random(seed)
    async with trio.open_nursery() as owner:
        accepts = None if quick is None else lambda: draw.random() < quick
        mount = MemoryMount(owner, ttl_s=ttl_s, memory_bytes=memory_bytes, quick=accepts)
        mount.store.there_s = mount.store.back_s = lambda method, key: draw.choice(latencies)
        model = Model(mount, draw, starved=memory_bytes < MIB and max(latencies) > 0.1)
        for key in ("a", "d/x"):
            model.set(key, 5000)
        async with trio.open_nursery() as beside:
            for op, side_by_side in steps:
                if side_by_side:
                    beside.start_soon(model.run, op)
                    await trio.testing.wait_all_tasks_blocked()
                else:
                    await model.run(op)
        await model.end()
        owner.cancel_scope.cancel()


@pytest.mark.timeout(900)  # a run takes seconds; making a failure small and readable takes minutes
@settings(max_examples=400, phases=[phase for phase in Phase if phase is not Phase.explain])
@given(
    steps=steps,
    ttl_s=st.sampled_from([0.0, 1.0, 30.0, math.inf]),
    memory_bytes=st.sampled_from([16 * KIB, 256 * KIB, MIB, 64 * MIB]),
    latencies=st.sampled_from([[0.0], [0.01], [0.0, 0.01, 1.0], [0.5, 5.0]]),
    quick=st.sampled_from([None, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
def test_any_operations_over_any_history(steps, ttl_s, memory_bytes, latencies, quick, seed):
    run_virtual(drive, steps, ttl_s, memory_bytes, latencies, quick, seed)
