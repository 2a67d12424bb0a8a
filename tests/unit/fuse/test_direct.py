"""The direct engine over a real file system, with this test in the place of the kernel."""

import mmap
import os
import struct

import pytest
import trio
import trio.testing

from mountd.errors import SetupError
from mountd.fuse import protocol
from mountd.fuse.direct import AT_ONCE, CHANGES, MOST_LISTED
from mountd.fuse.fastpath import FAIR_EVERY
from mountd.units import KIB, MIB
from tests.support.direct_kernel import ROOT, Gate, read_in

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
    assert (background, congestion, max_write, granularity, pages) == (64, 48, MIB, 1, 256 * KIB // mmap.PAGESIZE)
    assert (more, depth) == (0, 0)
    assert kernel.engine.initialised.is_set()
    kernel.engine.request_stop()


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


async def test_the_end_of_the_session_ends_those_who_wait(unserved, monkeypatch):
    kernel = unserved
    kernel.mount.put("file", 1000)
    gate = Gate(kernel.mount.store, "stat")
    channel = kernel.engine._channel
    receive = channel.receive
    monkeypatch.setattr(channel, "receive", lambda most: [] if channel.ended else receive(most))
    async with trio.open_nursery() as inner:
        inner.start_soon(kernel.engine.serve)
        await kernel.init()
        await kernel.send(protocol.LOOKUP, ROOT, b"file\0")
        await gate.reached()
        channel.ended = True
        await kernel.send(protocol.INTERRUPT)  # wakes it
    assert len(kernel.mount.namespace.inodes) == 1
    gate.open()


async def test_of_requests_that_are_there_together_the_urgent_ones_are_answered_first(unserved, nursery):
    kernel = unserved
    asked = [
        await kernel.send(protocol.FSYNC),
        await kernel.send(protocol.LOOKUP, ROOT, b".\0"),
        await kernel.send(protocol.OPEN, ROOT, struct.pack("=II", os.O_RDWR, 0)),
        await kernel.send(protocol.STATFS),
        await kernel.send(protocol.READ, ROOT, read_in(77, 0, 4096)),
    ]
    nursery.start_soon(kernel.engine.serve)
    answered = [(await kernel.reply())[1] for _ in asked]
    sync, lookup, opened, statfs, read = asked
    assert answered == [read, opened, lookup, sync, statfs]
    kernel.engine.request_stop()


@pytest.mark.parametrize(
    ("let_go", "then"),
    [
        (protocol.FORGET, protocol.LOOKUP),
        (protocol.BATCH_FORGET, protocol.LOOKUP),
        (protocol.RELEASE, protocol.OPEN),
        (protocol.RELEASEDIR, protocol.OPENDIR),
    ],
)
async def test_what_lets_go_of_a_file_is_not_overtaken_by_what_comes_for_it(unserved, monkeypatch, let_go, then):
    """An inode that was forgotten has no pages: looked up before that, it would be opened without asking the store."""
    engine, handled = unserved.engine, []
    monkeypatch.setattr(engine, "_handle", lambda opcode, *_: handled.append(opcode) or engine.request_stop())
    for opcode in (protocol.FSYNC, let_go, then):
        await unserved.send(opcode, ROOT, bytes(64))
    await engine.serve()
    assert handled.index(let_go) < handled.index(then)


async def test_requests_that_are_received_with_the_end_are_answered(unserved, monkeypatch):
    channel = unserved.engine._channel
    receive = channel.receive

    def receive_and_end(most):
        channel.ended = True
        return receive(most)

    monkeypatch.setattr(channel, "receive", receive_and_end)
    asked = [await unserved.send(protocol.FSYNC) for _ in range(3)]
    await unserved.engine.serve()
    assert [(await unserved.reply())[1] for _ in asked] == asked


async def test_others_have_their_turns_however_many_requests_come(unserved, monkeypatch):
    engine, turns, batches = unserved.engine, 0, 20
    head = protocol.IN_HEADER.pack(40, protocol.FSYNC, 1, ROOT, 0, 0, 0, 0, 0)

    def receive(most):
        nonlocal batches
        batches -= 1
        engine._channel.ended = batches < 0
        return [] if batches < 0 else [head] * most

    async def count():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    monkeypatch.setattr(engine._channel, "receive", receive)
    monkeypatch.setattr(engine, "_handle", lambda *_: None)
    async with trio.open_nursery() as inner:
        inner.start_soon(count)
        await trio.lowlevel.checkpoint()
        before = turns
        await engine.serve()
        assert turns - before >= 20 * AT_ONCE // FAIR_EVERY
        inner.cancel_scope.cancel()


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


async def test_of_a_large_directory_no_more_is_packed_at_once_than_others_can_wait_for(kernel):
    names = {b"%04d" % index for index in range(MOST_LISTED * 2)}
    for name in names:
        kernel.mount.put(name.decode(), 10)
    handle = protocol.OPEN_OUT.unpack((await kernel.ask(protocol.OPENDIR, ROOT, bytes(8)))[1])[0]
    listed, offset, pieces = [], 0, []
    while piece := await kernel.entries(handle, offset, 1 << 20):
        pieces.append(len(piece))
        listed += [name for name, _ in piece]
        offset = piece[-1][1]
    assert sorted(pieces) == [2, MOST_LISTED, MOST_LISTED]
    assert sorted(listed) == sorted({b".", b"..", *names})
    counted = {node.name: node.lookups for node in kernel.mount.namespace.inodes if node.ino != ROOT}
    assert counted == dict.fromkeys(names, 1)


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
