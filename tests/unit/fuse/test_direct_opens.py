"""How the direct engine opens files, and who waits for that, with this test in the place of the kernel."""

import os
import struct

import pytest
import trio
import trio.testing

from mountd.errors import DeniedError
from mountd.fuse import openings, protocol
from mountd.fuse.open_answers import CachedAnswers
from tests.support.direct_kernel import OFFERED, ROOT, Gate, Kernel, read_in


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
