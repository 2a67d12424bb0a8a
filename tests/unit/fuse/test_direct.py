"""The direct engine over a real file system, with this test in the place of the kernel."""

import errno
import os
import socket
import stat
import struct

import pytest
import trio
import trio.testing

from mountd.errors import DeniedError, SetupError
from mountd.fuse import openings, protocol
from mountd.fuse.convert import AttributePacker, Ownership
from mountd.fuse.direct import CHANGES, DirectEngine
from mountd.fuse.failures import Failures
from mountd.fuse.open_answers import CachedAnswers
from mountd.units import KIB, MIB
from tests.support.memory_mount import MemoryMount

ROOT = 1
OFFERED = 0xFFFF_FFFF


class Gate:
    """Holds calls of one method of the store until it is opened."""

    def __init__(self, store, method):
        self._method = method
        self._arrived = trio.Event()
        self._open = trio.Event()
        store.fault = self

    async def __call__(self, method, _key):
        if method == self._method:
            self._arrived.set()
            await self._open.wait()

    async def reached(self):
        with trio.fail_after(20):
            await self._arrived.wait()

    def open(self):
        self._open.set()


class Kernel:
    """The other side: sends requests and takes replies."""

    def __init__(self, nursery, opens=None, **options):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 * MIB)
        ours.setblocking(False)
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._theirs = theirs
        self._unique = 0
        self.mount = MemoryMount(nursery, **options)
        self.failures = Failures()
        self.engine = DirectEngine(
            theirs.fileno(),
            self.mount.fs,
            AttributePacker(Ownership(12, 34, 0o640, 0o750)),
            self.failures,
            max_background=64,
            congestion=48,
            opens=opens,
        )

    async def send(self, opcode, node=ROOT, body=b"", *, caller=9):
        self._unique += 1
        head = protocol.IN_HEADER.pack(40 + len(body), opcode, self._unique, node, 0, 0, caller, 0, 0)
        await self._socket.send(head + body)
        return self._unique

    async def reply(self):
        """Return errno, unique and body of the next reply."""
        with trio.fail_after(20):
            message = await self._socket.recv(2 * MIB)
        length, error, unique = protocol.OUT_HEADER.unpack_from(message)
        assert length == len(message)
        return -error, unique, message[16:]

    async def ask(self, opcode, node=ROOT, body=b"", **more):
        unique = await self.send(opcode, node, body, **more)
        error, answered, data = await self.reply()
        assert answered == unique
        return (errno.errorcode[error] if error else 0), data

    async def init(self, major=7, minor=45, offered=OFFERED, more=0):
        return await self.ask(protocol.INIT, 0, struct.pack("=IIIIII40x", major, minor, 131072, offered, more, 0))

    async def waits_in_a_task(self):
        """Return once nothing waits without one."""
        with trio.fail_after(20):
            while self.engine._openings._waiting:  # noqa: ASYNC110 - nobody is told
                await trio.sleep(0.005)

    async def lookup(self, name, node=ROOT):
        error, data = await self.ask(protocol.LOOKUP, node, name + b"\0")
        return error or protocol.ENTRY_OUT.unpack_from(data)[0]

    async def open(self, node, flags=os.O_RDONLY):
        error, data = await self.ask(protocol.OPEN, node, struct.pack("=II", flags, 0))
        return error or protocol.OPEN_OUT.unpack(data)[0]

    async def entries(self, handle, offset=0, size=4096):
        """Return names and offsets of one READDIRPLUS."""
        error, data = await self.ask(protocol.READDIRPLUS, ROOT, read_in(handle, offset, size))
        assert error == 0
        assert len(data) <= size
        found = []
        while data:
            nodeid = protocol.ENTRY_OUT.unpack_from(data)[0]
            ino, next_offset, length, kind = protocol.DIRENT.unpack_from(data, 128)
            mode = protocol.ATTR.unpack_from(data, 40)[9]
            assert (ino, kind) == (nodeid, stat.S_IFMT(mode) >> 12)
            found.append((data[152 : 152 + length], next_offset))
            data = data[152 + length + -length % 8 :]
        return found

    def close(self):
        self._socket.close()
        self._theirs.close()


def read_in(handle, offset, size):
    return protocol.READ_IN.pack(handle, offset, size) + bytes(20)


@pytest.fixture
def unserved(nursery):
    """Nothing reads its requests yet."""
    found = Kernel(nursery)
    yield found
    found.close()


@pytest.fixture
async def kernel(unserved, nursery):
    nursery.start_soon(unserved.engine.serve)
    await unserved.init()
    yield unserved
    unserved.engine.request_stop()
    await trio.testing.wait_all_tasks_blocked()


# ---- the session


async def test_init_asks_for_what_is_offered_and_known(unserved, nursery):
    kernel = unserved
    nursery.start_soon(kernel.engine.serve)
    error, data = await kernel.init(offered=protocol.DO_READDIRPLUS | protocol.PARALLEL_DIROPS | 1 << 31)
    major, minor, readahead, flags, background, congestion, max_write, granularity, pages, _, more, depth = (
        protocol.INIT_OUT.unpack(data)
    )
    assert (error, major, minor, readahead) == (0, 7, 31, 131072)
    assert flags == protocol.DO_READDIRPLUS | protocol.PARALLEL_DIROPS
    assert (background, congestion, max_write, granularity, pages) == (64, 48, MIB, 1, 256)
    assert (more, depth) == (0, 0)
    assert kernel.engine.initialised.is_set()
    kernel.engine.request_stop()


class Opens(CachedAnswers):
    """Some pass through, with the backing 5; those of handles in `slow` take a while."""

    def __init__(self):
        self.slow = set()
        self.offered = None
        self.begun = []
        self.ended = []

    def wanted(self, offered):
        self.offered = offered
        return protocol.INIT_EXT | protocol.PASSTHROUGH, 2

    def begin(self, node, number, flags):
        self.begun.append((node, number, flags))
        return None if number in self.slow else protocol.OPEN_OUT_BACKED.pack(number, protocol.FOPEN_PASSTHROUGH, 5)

    async def settle(self, number):
        await trio.lowlevel.checkpoint()
        return protocol.OPEN_OUT_BACKED.pack(number, protocol.FOPEN_PASSTHROUGH, 6)

    def end(self, number):
        self.ended.append(number)


async def test_flags_beyond_the_first_32_are_asked_for_where_they_are_offered(nursery):
    opens = Opens()
    kernel = Kernel(nursery, opens=opens)
    nursery.start_soon(kernel.engine.serve)
    error, data = await kernel.init(offered=OFFERED, more=1 << 5)
    _, _, _, flags, *_, more, depth = protocol.INIT_OUT.unpack(data)
    assert error == 0
    assert opens.offered == OFFERED | protocol.PASSTHROUGH
    assert flags & protocol.INIT_EXT
    assert flags < 1 << 32
    assert (more, depth) == (1 << 5, 2)
    kernel.engine.request_stop()
    kernel.close()


async def test_what_says_how_files_are_opened_is_asked_and_told_the_end(nursery):
    opens = Opens()
    kernel = Kernel(nursery, opens=opens)
    nursery.start_soon(kernel.engine.serve)
    await kernel.init()
    kernel.mount.put("file", 1000)
    node = await kernel.lookup(b"file")
    opens.slow = {2, 4}
    answers = []
    for _ in range(4):  # the last two find what the kernel has read
        _, data = await kernel.ask(protocol.OPEN, node, struct.pack("=II", os.O_RDONLY, 0))
        number, flags, backing = protocol.OPEN_OUT_BACKED.unpack(data)
        answers.append((number, flags, backing))
        if number == 2:
            await kernel.ask(protocol.READ, node, read_in(number, 0, 1000))
    passes = protocol.FOPEN_PASSTHROUGH
    assert answers == [(1, passes, 5), (2, passes, 6), (3, passes, 5), (4, passes, 6)]
    assert opens.begun == [(node, number, os.O_RDONLY) for number in range(1, 5)]
    await kernel.ask(protocol.RELEASE, node, protocol.RELEASE_IN.pack(3) + bytes(16))
    assert opens.ended == [3]
    kernel.engine.request_stop()
    kernel.close()


@pytest.mark.parametrize("spoken", [{"major": 8}, {"minor": 22}, {"offered": 0}])
async def test_another_protocol_is_a_refusal_that_says_what_helps(unserved, spoken):
    answers = []

    async def serve():
        with pytest.RaisesGroup(pytest.RaisesExc(SetupError, match="fuse_engine=libfuse")):
            await unserved.engine.serve()

    async with trio.open_nursery() as inner:
        inner.start_soon(serve)
        answers.append(await unserved.init(**spoken))
    assert answers == [("EPROTO", b"")]


@pytest.mark.parametrize("opcode", CHANGES)
async def test_every_change_is_refused(kernel, opcode):
    assert await kernel.ask(opcode, ROOT, b"name\0" * 8) == ("EROFS", b"")


@pytest.mark.parametrize("opcode", [5, 22, 23, 25, 31, 34, 37, 39, 40, 43, 46, 47, 48, 50, 52, 4095])
async def test_what_is_not_offered_is_enosys_so_that_nobody_asks_again(kernel, opcode):
    assert await kernel.ask(opcode, ROOT, bytes(64)) == ("ENOSYS", b"")


async def test_an_interrupt_has_no_reply(kernel):
    await kernel.send(protocol.INTERRUPT, 0, bytes(8))
    assert (await kernel.ask(protocol.FSYNC))[0] == 0


async def test_a_stop_waits_for_what_is_under_way_and_takes_no_more(kernel):
    kernel.mount.put("file", 1000)
    node = await kernel.lookup(b"file")
    gate = Gate(kernel.mount.store, "read")
    opening = await kernel.send(protocol.OPEN, node, bytes(8))
    await gate.reached()
    kernel.engine.request_stop()
    await trio.testing.wait_all_tasks_blocked()
    await kernel.send(protocol.GETATTR)
    gate.open()
    assert (await kernel.reply())[:2] == (0, opening)
    await trio.testing.wait_all_tasks_blocked()
    with trio.move_on_after(0.05) as waiting:
        await kernel.reply()
    assert waiting.cancelled_caught


async def test_an_open_that_takes_longer_than_a_moment_is_answered_once(kernel, monkeypatch):
    """It is handed over to a task, which shares the fetch that is under way."""
    monkeypatch.setattr(openings, "MOMENT_S", 0.01)
    kernel.mount.put("file", 1000)
    node = await kernel.lookup(b"file")
    gate = Gate(kernel.mount.store, "read")
    opening = await kernel.send(protocol.OPEN, node, bytes(8))
    await gate.reached()
    await kernel.waits_in_a_task()
    gate.open()
    assert (await kernel.reply())[:2] == (0, opening)
    with trio.move_on_after(0.05) as waiting:
        await kernel.reply()
    assert waiting.cancelled_caught
    assert (kernel.mount.memory.calls["read"], kernel.mount.fs.open_handles) == (1, 1)


async def test_opens_that_fail_before_a_moment_is_over_say_why(kernel, monkeypatch):
    kernel.mount.put("file", 1000)
    node = await kernel.lookup(b"file")

    async def denied(method, key):
        raise DeniedError("no")

    kernel.mount.store.fault = denied
    assert await kernel.open(node) == "EACCES"
    assert kernel.mount.fs.open_handles == 0
    kernel.mount.store.fault = None
    kernel.mount.memory.set("file", b"new")
    assert await kernel.open(node) == "ESTALE"
    assert kernel.mount.fs.open_handles == 0


async def test_the_end_of_the_session_ends_those_who_wait(unserved, monkeypatch):
    kernel = unserved
    kernel.mount.put("file", 1000)
    gate = Gate(kernel.mount.store, "stat")
    receive = kernel.engine._channel.receive
    gone = False
    monkeypatch.setattr(kernel.engine._channel, "receive", lambda: -1 if gone else receive())
    async with trio.open_nursery() as inner:
        inner.start_soon(kernel.engine.serve)
        await kernel.init()
        await kernel.send(protocol.LOOKUP, ROOT, b"file\0")
        await gate.reached()
        gone = True
        await kernel.send(protocol.INTERRUPT)  # wakes it
    assert len(kernel.mount.namespace.inodes) == 1
    gate.open()


# ---- files


@pytest.mark.parametrize("size", [0, 1, 100_000, 400 * KIB])
async def test_a_file_from_lookup_to_release(kernel, size):
    data = kernel.mount.put("file", size)
    node = await kernel.lookup(b"file")
    error, attributes = await kernel.ask(protocol.GETATTR, node, bytes(16))
    assert (error, protocol.ATTR.unpack_from(attributes, 16)[:3]) == (0, (node, size, (size + 511) // 512))
    for _ in range(2):  # the second time without a question to the store
        handle = await kernel.open(node)
        assert await kernel.ask(protocol.READ, node, read_in(handle, 0, 400 * KIB)) == (0, data)
        assert await kernel.ask(protocol.READ, node, read_in(handle, size, 4096)) == (0, b"")
        assert await kernel.ask(protocol.RELEASE, node, struct.pack("=QIIQ", handle, 0, 0, 0)) == (0, b"")
    assert kernel.mount.memory.calls["read"] == (1 if size else 0)
    await kernel.send(protocol.FORGET, node, struct.pack("=Q", 1))
    assert await kernel.ask(protocol.GETATTR, node, bytes(16)) == ("ESTALE", b"")


async def test_forgets_in_a_batch(kernel):
    kernel.mount.put("a", 1)
    kernel.mount.put("b", 1)
    nodes = [await kernel.lookup(name) for name in (b"a", b"b", b"b")]
    pairs = b"".join(struct.pack("=QQ", node, count) for node, count in ((nodes[0], 1), (nodes[1], 2)))
    await kernel.send(protocol.BATCH_FORGET, 0, struct.pack("=II", 2, 0) + pairs)
    for node in set(nodes):
        assert await kernel.ask(protocol.GETATTR, node, bytes(16)) == ("ESTALE", b"")


async def test_a_name_that_is_not_there_is_an_entry_that_is_kept(kernel):
    error, data = await kernel.ask(protocol.LOOKUP, ROOT, b"missing\0")
    nodeid, _, valid_s, _, _, _ = protocol.ENTRY_OUT.unpack_from(data)
    assert (error, len(data), nodeid) == (0, 128, 0)
    assert 28 <= valid_s <= 30


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_TRUNC, os.O_WRONLY | os.O_APPEND])
async def test_opening_for_writing_is_refused(kernel, flags):
    kernel.mount.put("file", 1)
    assert await kernel.open(await kernel.lookup(b"file"), flags) == "EROFS"


async def test_any_number_of_requests_that_wait_holds_up_nobody(kernel):
    names = [b"file%d" % index for index in range(500)]
    for name in names:
        kernel.mount.put(name.decode(), 10)
    nodes = [await kernel.lookup(name) for name in names]
    gate = Gate(kernel.mount.store, "read")
    waiting = {await kernel.send(protocol.OPEN, node, bytes(8)) for node in nodes}
    assert (await kernel.ask(protocol.STATFS))[0] == 0
    assert (await kernel.ask(protocol.GETATTR, ROOT, bytes(16)))[0] == 0
    gate.open()
    replies = [await kernel.reply() for _ in nodes]
    assert {unique for _, unique, _ in replies} == waiting
    assert {error for error, _, _ in replies} == {0}


# ---- directories


@pytest.mark.parametrize("size", [4096, 1 << 17])
async def test_a_directory_comes_whole_and_once_in_pieces_of_any_size(kernel, size):
    names = {b"name%d" % index + b"x" * (index % 9) for index in range(300)}
    for name in names:
        kernel.mount.put(name.decode(), 10)
    error, data = await kernel.ask(protocol.OPENDIR, ROOT, bytes(8))
    handle = protocol.OPEN_OUT.unpack(data)[0]
    listed, offset = [], 0
    while piece := await kernel.entries(handle, offset, size):
        listed += [name for name, _ in piece]
        offset = piece[-1][1]
    assert error == 0
    assert sorted(listed) == sorted({b".", b"..", *names})
    assert (await kernel.ask(protocol.RELEASEDIR, ROOT, struct.pack("=QIIQ", handle, 0, 0, 0)))[0] == 0
    counted = {node.name: node.lookups for node in kernel.mount.namespace.inodes if node.ino != ROOT}
    assert counted == dict.fromkeys(names, 1), "each entry that was taken counts as looked up, and no other"


# ---- failures


@pytest.mark.parametrize("method", ["lookup_nowait", "lookup"])
async def test_a_bug_is_eio_for_one_and_the_next_is_served(kernel, monkeypatch, method):
    kernel.mount.put("file", 1)

    def broken(*_args, **_more):
        raise ValueError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(kernel.mount.fs, method, broken)
        assert await kernel.ask(protocol.LOOKUP, ROOT, b"file\0") == ("EIO", b"")
    assert kernel.failures.unexpected == 1
    assert await kernel.lookup(b"file") > ROOT


@pytest.mark.parametrize("name", [b"file", b"other"])
async def test_a_reply_that_cannot_be_made_ends_no_session(kernel, monkeypatch, name):
    """`other` has to be asked for, and is answered by a task."""
    kernel.mount.put("file", 1)
    kernel.mount.put("other", 1)
    await kernel.lookup(b"file")

    def broken(*_args):
        raise MemoryError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(kernel.engine._channel, "reply", broken)
        assert await kernel.ask(protocol.LOOKUP, ROOT, name + b"\0") == ("EIO", b"")
    assert await kernel.lookup(name) > ROOT


async def test_a_bug_in_what_has_no_reply_gets_none(kernel, monkeypatch):
    def broken(*_args):
        raise ValueError("injected")

    broken_ones = []
    monkeypatch.setattr(kernel.failures._complaints, "broken", lambda *what: broken_ones.append(what))
    monkeypatch.setattr(kernel.mount.fs, "forget", broken)
    await kernel.send(protocol.FORGET, 5, struct.pack("=Q", 1))
    await kernel.send(protocol.BATCH_FORGET, 0, struct.pack("=IIQQ", 1, 0, 5, 1))
    assert (await kernel.ask(protocol.STATFS))[0] == 0
    assert kernel.failures.unexpected == 2
    assert [name for name, _ in broken_ones] == ["forget", "forget"]


@pytest.mark.parametrize(
    ("opcode", "node", "body", "expected"),
    [
        (protocol.GETATTR, 99, bytes(16), "ESTALE"),
        (protocol.LOOKUP, ROOT, b"x" * 300 + b"\0", "ENAMETOOLONG"),
        (protocol.OPEN, ROOT, bytes(8), "EISDIR"),
        (protocol.READ, ROOT, read_in(77, 0, 4096), "ESTALE"),
        (protocol.READDIRPLUS, ROOT, read_in(77, 0, 4096), "ESTALE"),
        (protocol.OPENDIR, 99, bytes(8), "ESTALE"),
    ],
)
async def test_errors_meant_for_the_caller(kernel, opcode, node, body, expected):
    assert await kernel.ask(opcode, node, body) == (expected, b"")
    assert kernel.failures.unexpected == 0


@pytest.mark.parametrize("comes", [True, False])
async def test_an_engine_that_is_cut_off_answers_no_open_that_waits(unserved, comes):
    """The number of its descriptor may be another file's by the time the bytes come."""
    kernel = unserved
    async with trio.open_nursery() as serving:
        serving.start_soon(kernel.engine.serve)
        await kernel.init()
        kernel.mount.put("file", 1000)
        node = await kernel.lookup(b"file")
        gate = Gate(kernel.mount.store, "read")
        await kernel.send(protocol.OPEN, node, bytes(8))
        await gate.reached()
        serving.cancel_scope.cancel()
    if not comes:
        kernel.mount.memory.delete("file")
    gate.open()
    await trio.testing.wait_all_tasks_blocked()
    with trio.move_on_after(0.05) as waiting:
        await kernel.reply()
    assert waiting.cancelled_caught
    assert kernel.mount.fs.open_handles == 0
