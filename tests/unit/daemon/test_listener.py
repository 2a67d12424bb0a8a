import os
import socket
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from mountd.daemon import listener as module
from mountd.daemon.connection import Connection, as_stream
from mountd.daemon.listener import accept_connections, serve_connection
from mountd.errors import BusyError
from mountd.wire import sockets
from mountd.wire.codec import Conversation, ProtocolError, encode, pack
from mountd.wire.messages import Done, Failed, Hello, ListMounts, Mount, Mounts, Reply, Shutdown, Unmount


@asynccontextmanager
async def served(answer):
    """Yield the client's side of a connection that is being served."""
    ours, theirs = socket.socketpair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, as_stream(theirs), answer)
        async with as_stream(ours) as stream:
            yield stream


async def rest_of(stream):
    """Return what is sent until the end of the stream."""
    received = b""
    with trio.fail_after(5):
        while data := await stream.receive_some():
            received += data
    return received


def replies_in(data):
    conversation = Conversation(Reply)
    replies = conversation.feed(data)
    assert not conversation.inside_frame
    return replies


async def test_a_request_is_answered_and_the_connection_closed():
    asked = []

    async def answer(request):
        asked.append(request)
        return Mounts(records=[])

    async with served(answer) as stream:
        connection = Connection(stream, Reply)
        await connection.send(ListMounts())
        assert replies_in(await rest_of(stream)) == [Mounts(records=[])]
    assert asked == [ListMounts()]


async def test_an_error_is_an_answer():
    async def answer(request):
        raise BusyError("in use")

    async with served(answer) as stream:
        await Connection(stream, Reply).send(Unmount(mountpoint="/x"))
        assert replies_in(await rest_of(stream)) == [Failed(error="BusyError", exit_code=6, message="in use")]


async def test_a_bug_is_an_answer_without_its_text():
    async def answer(request):
        raise ValueError("sig=secret")

    async with served(answer) as stream:
        await Connection(stream, Reply).send(Shutdown())
        (reply,) = replies_in(await rest_of(stream))
        assert (reply.error, reply.exit_code) == ("MountdError", 1)
        assert "secret" not in reply.message


async def test_the_greeting_comes_before_anything_is_asked():
    async with served(None) as stream:
        conversation = Conversation(Reply)
        with trio.fail_after(5):
            while conversation.peer is None:
                conversation.feed(bytes(await stream.receive_some()))
        assert conversation.peer.pid == os.getpid()


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\n\r\n", Conversation.greeting()[:3], encode(Hello(protocol=99, pid=1)), encode(Done())],
    ids=["nothing", "HTTP", "cut", "another protocol", "no greeting"],
)
async def test_what_is_no_request_is_not_answered(sent):
    async with served(None) as stream:
        await stream.send_all(sent)
        await stream.send_eof()
        assert replies_in(await rest_of(stream)) == []


async def test_a_client_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, "_REQUEST_WITHIN_S", 0.05)
    async with served(None) as stream:
        await rest_of(stream)


async def test_a_client_that_does_not_listen_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, "_REPLY_WITHIN_S", 0.05)

    async def answer(request):
        return Failed(error="MountdError", exit_code=1, message="x" * 3_000_000)

    ours, theirs = socket.socketpair()
    async with as_stream(ours) as stream:
        await Connection(stream, Reply).send(Shutdown())
        with trio.fail_after(5):
            await serve_connection(as_stream(theirs), answer)


async def test_a_mount_is_taken_back_when_its_client_hangs_up():
    outcome = []

    async def answer(request):
        try:
            await trio.sleep_forever()
        finally:
            outcome.append("taken back")

    async with served(answer) as stream:
        await Connection(stream, Reply).send(Mount(spec=pack({})))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert outcome == []
        await stream.aclose()
    assert outcome == ["taken back"]


async def test_an_unmount_goes_on_when_its_client_hangs_up():
    outcome = []

    async def answer(request):
        await trio.testing.wait_all_tasks_blocked(0.05)
        outcome.append("done")
        return Done()

    async with served(answer) as stream:
        await Connection(stream, Reply).send(Unmount(mountpoint="/x"))
        await stream.aclose()
    assert outcome == ["done"]


async def test_another_user_is_turned_away(monkeypatch):
    monkeypatch.setattr(module, "trusted", lambda peer: False)
    async with served(None) as stream:
        assert await rest_of(stream) == b""


async def test_many_clients_are_served_at_once(tmp_path):
    everybody = trio.Event()
    waiting = 0

    async def answer(request):
        nonlocal waiting
        waiting += 1
        if waiting == 20:
            everybody.set()
        await everybody.wait()
        return Done()

    async def ask():
        async with as_stream(sockets.connect(tmp_path / "one.sock", 5)) as stream:
            connection = Connection(stream, Reply)
            await connection.send(Shutdown())
            assert await connection.receive() == Done()

    with sockets.listen(tmp_path, "one.sock") as listening:
        listening.setblocking(False)
        async with trio.open_nursery() as nursery:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
            nursery.start_soon(accept_connections, listener, answer, nursery)
            async with trio.open_nursery() as clients:
                for _ in range(20):
                    clients.start_soon(ask)
            nursery.cancel_scope.cancel()


async def test_a_stream_that_ends_inside_a_message_is_an_error():
    ours, theirs = socket.socketpair()
    async with as_stream(ours) as sending, as_stream(theirs) as receiving:
        await sending.send_all(Conversation.greeting() + encode(Done())[:-2])
        await sending.send_eof()
        with pytest.raises(ProtocolError, match="in the middle"):
            await Connection(receiving, Reply).receive()


async def test_messages_of_two_senders_do_not_mix():
    ours, theirs = socket.socketpair()
    async with as_stream(ours) as sending, as_stream(theirs) as receiving:
        sender, receiver = Connection(sending, Reply), Connection(receiving, Reply)
        large = Failed(error="x", exit_code=1, message="x" * 1_000_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send, large)
            nursery.start_soon(sender.send, Done())
            received = [await receiver.receive(), await receiver.receive()]
        assert sorted(received, key=repr) == sorted([large, Done()], key=repr)
