"""The descriptor of a session: a pair of sockets stands for the kernel, for each of their messages is one request."""

import errno
import os
import socket
import threading

import pytest
import trio

from mountd.aio.threads import Lane
from mountd.fuse import channel as module
from mountd.fuse import protocol
from mountd.fuse.channel import IN_ONE_PIECE, IN_THREAD, MOST_IN_THREAD, Channel

SIZES = [0, 1, IN_ONE_PIECE, IN_ONE_PIECE + 1, IN_THREAD - 1, IN_THREAD]


@pytest.fixture
def kernel():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * IN_THREAD)
        ours.settimeout(20)
        yield ours, theirs.fileno()


def reply(ours):
    length, error, unique, body = *protocol.OUT_HEADER.unpack_from(message := ours.recv(1 << 21)), message[16:]
    assert length == len(message)
    return error, unique, body


async def test_requests_come_in_their_order_and_nothing_blocks(kernel):
    ours, descriptor = kernel
    channel = Channel(descriptor)
    assert channel.receive(2) == []
    for request in (b"one", b"other", b"third"):
        ours.send(request)
    assert channel.receive(2) == [b"one", b"other"]
    assert channel.receive(2) == [b"third"]
    assert channel.receive(2) == []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.wait)
        ours.send(b"fourth")
    assert channel.receive(2) == [b"fourth"]
    assert not channel.ended
    await channel.aclose()
    os.fstat(descriptor)  # it is the caller's


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", SIZES)
async def test_a_reply_arrives_whole_whatever_its_size(kernel, size, kind):
    ours, descriptor = kernel
    channel = Channel(descriptor)
    body = os.urandom(size)
    channel.reply(77, kind(body))
    await channel.aclose()
    assert reply(ours) == (0, 77, body)


async def test_closing_waits_for_what_threads_write(kernel):
    ours, descriptor = kernel
    channel = Channel(descriptor)
    for unique in range(1, 4):
        channel.reply(unique, bytes(IN_THREAD + unique))
        assert len(reply(ours)[2]) == IN_THREAD + unique
    channel.reply(4, bytes(IN_THREAD))
    with trio.CancelScope() as scope:
        scope.cancel()
        await channel.aclose()
    assert reply(ours)[1] == 4


async def test_no_more_replies_than_a_few_wait_for_the_thread(kernel, monkeypatch):
    ours, descriptor = kernel
    channel = Channel(descriptor)
    write, room, loop = os.writev, threading.Semaphore(0), threading.get_ident()

    def slow_in_threads(*args):
        assert threading.get_ident() == loop or room.acquire(timeout=20)
        return write(*args)

    monkeypatch.setattr(module.os, "writev", slow_in_threads)
    for unique in range(MOST_IN_THREAD + 1):
        channel.reply(unique, bytes(IN_THREAD))
    assert reply(ours)[1] == MOST_IN_THREAD  # the loop's own
    for unique in range(MOST_IN_THREAD):
        room.release()  # one by one: a socket, unlike the kernel, has no room for a second that nobody has received
        assert reply(ours)[1] == unique
    await channel.aclose()


async def test_without_a_thread_to_be_had_a_large_reply_is_written_all_the_same(kernel, monkeypatch):
    ours, descriptor = kernel
    channel = Channel(descriptor)

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Lane, "post", refuse)
    channel.reply(5, bytes(IN_THREAD))
    assert reply(ours) == (0, 5, bytes(IN_THREAD))


async def test_an_errno(kernel):
    ours, descriptor = kernel
    channel = Channel(descriptor)
    channel.fail(8, errno.ESTALE)
    assert reply(ours) == (-errno.ESTALE, 8, b"")
    await channel.aclose()


@pytest.mark.parametrize("size", [IN_ONE_PIECE + 1, IN_THREAD])
async def test_a_reply_that_the_kernel_does_not_take_becomes_eio_and_a_line(kernel, monkeypatch, capsys, size):
    ours, descriptor = kernel
    channel = Channel(descriptor)
    lines = []

    class Log:
        def exception(self, event, **more):
            lines.append((event, more))

    def refuse(*_):
        raise OSError(errno.EINVAL, "injected")

    monkeypatch.setattr(module, "log", Log())
    monkeypatch.setattr(module.os, "writev", refuse)
    channel.reply(9, bytes(size))
    await channel.aclose()
    assert reply(ours) == (-errno.EIO, 9, b"")
    assert lines == [("reply refused", {"bytes": 16 + size})]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV, errno.ECONNABORTED])
async def test_a_reply_that_nobody_waits_for_any_more_is_no_error(kernel, monkeypatch, number):
    _, descriptor = kernel
    channel = Channel(descriptor)

    def refuse(*_):
        raise OSError(number, "injected")

    monkeypatch.setattr(module.os, "write", refuse)
    channel.reply(9, b"")
    channel.fail(9, errno.EIO)


def script_reads(monkeypatch, outcomes):
    """Have each read fail with the next of `outcomes`, or go as it goes where that is None."""
    readv = os.readv

    def scripted(*args):
        number = outcomes.pop(0)
        if number is None:
            return readv(*args)
        raise OSError(number, "injected")

    monkeypatch.setattr(module.os, "readv", scripted)


async def test_a_request_that_was_taken_back_is_none_and_the_end_is_the_end(kernel, monkeypatch):
    ours, descriptor = kernel
    channel = Channel(descriptor)
    outcomes = [errno.ENOENT, errno.EINTR, None, errno.EINTR, errno.ENODEV, errno.ENODEV]
    script_reads(monkeypatch, outcomes)
    ours.send(b"request")
    assert channel.receive(9) == [b"request"]
    assert channel.receive(9) == []
    assert channel.ended


async def test_what_was_received_before_something_went_wrong_is_not_lost(kernel, monkeypatch):
    ours, descriptor = kernel
    channel = Channel(descriptor)
    outcomes = [None, errno.EIO, errno.EIO]
    script_reads(monkeypatch, outcomes)
    ours.send(b"request")
    assert channel.receive(9) == [b"request"]
    with pytest.raises(OSError, match="injected"):
        channel.receive(9)
    assert not channel.ended
