"""Exchanges on the loop's own sockets, against a server that answers with scripted bytes; and with TLS."""

import contextlib
import dataclasses
import socket
from functools import partial

import pytest
import trio

from mountd.aio.progress import Progress, reset_current, set_current
from mountd.stores import loop_http
from mountd.stores.http_answer import BrokenOffError, DeclinedError, Framing
from mountd.stores.http_connections import IDLE_S, Connections
from mountd.stores.loop_http import LARGEST_WITH_TLS, LoopHttp
from tests.support.raw_http import Scripted, answer
from tests.support.tls_http import TLS_BODY

REQUEST = b"GET /object HTTP/1.1\r\nHost: here\r\n\r\n"
BODY = bytes(range(256)) * 40


@pytest.fixture
def connect():
    """Makes clients and closes what they keep."""
    made = []

    def make(url, **timeouts):
        made.append(Connections(url, connect_s=10))
        return LoopHttp(made[-1], **{"stall_s": 10, "total_s": 20, **timeouts})

    yield make
    for connections in made:
        connections.close()


@pytest.fixture
def client(raw_server, connect):
    return connect(raw_server.url)


@pytest.fixture
def silent_address():
    """A port whose listener has no room for another connection: whoever tries to connect hears nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting[-1].connect(("127.0.0.1", port))
        yield port
        for sock in waiting:
            sock.close()


async def test_one_connection_serves_many_exchanges(raw_server, client):
    raw_server.script = [answer(206, BODY, ETag='"1"')]
    for _ in range(3):
        got = await client.exchange(REQUEST, len(BODY))
        assert (got.status, got.headers.get(b"etag"), bytes(got.body)) == (206, b'"1"', BODY)
    assert (len(raw_server.requests), len(raw_server._connections)) == (3, 1)


@pytest.mark.parametrize("size", [0, 1, 40_000, 3 << 20])
@pytest.mark.parametrize("room", [0, 1])
async def test_a_body_is_whole_whatever_its_size(raw_server, client, size, room):
    body = bytes(range(251)) * (size // 251 + 1)
    raw_server.script = [answer(200, body[:size])]
    got = await client.exchange(REQUEST, size + room)
    assert bytes(got.body) == body[:size]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
    ],
)
async def test_no_body_follows_a_head_whatever_is_said_of_one(raw_server, client, head):
    raw_server.script = [Scripted(head)]
    for _ in range(2):
        got = await client.exchange(b"HEAD /object HTTP/1.1\r\nHost: here\r\n\r\n", 0, Framing.NO_BODY)
        assert (got.status, bytes(got.body)) == (int(head[9:12]), b"")
    assert (len(raw_server.requests), len(raw_server._connections)) == (2, 1)


async def test_an_answer_that_comes_in_pieces_is_whole(raw_server, client):
    raw_server.script = [answer(206, b"some bytes", pause_s=0.001, piece=7, ETag='"1"')]
    got = await client.exchange(REQUEST, 10)
    assert (bytes(got.body), got.headers.get(b"etag")) == (b"some bytes", b'"1"')


async def test_a_connection_that_the_server_closed_is_not_used(raw_server, client):
    raw_server.script = [answer(200, b"x", then="close")]
    for _ in range(3):
        assert bytes((await client.exchange(REQUEST, 1)).body) == b"x"
    assert (len(raw_server.requests), len(raw_server._connections)) == (3, 3)


async def test_a_server_that_says_close_is_taken_at_its_word(raw_server, client):
    raw_server.script = [answer(200, b"x", Connection="close")]
    for _ in range(2):
        await client.exchange(REQUEST, 1)
    assert len(raw_server._connections) == 2


async def test_a_kept_connection_that_dies_without_a_word_is_replaced_once(raw_server, client):
    raw_server.script = [answer(200, b"x"), Scripted(then="reset"), answer(200, b"y")]
    assert bytes((await client.exchange(REQUEST, 1)).body) == b"x"
    assert bytes((await client.exchange(REQUEST, 1)).body) == b"y"
    assert len(raw_server.requests) == 3


async def test_a_new_connection_that_dies_is_an_error(raw_server, client):
    raw_server.script = [Scripted(then="close")]
    with pytest.raises(OSError):
        await client.exchange(REQUEST, 1)
    assert len(raw_server.requests) == 1


@pytest.mark.parametrize("script", [answer(200, b"shor", length=5, then="close"), Scripted(b"HTTP/1.", "reset")])
async def test_an_answer_that_breaks_off_is_not_asked_for_again(raw_server, client, script):
    raw_server.script = [answer(200, b"x"), script]
    await client.exchange(REQUEST, 5)
    with pytest.raises(BrokenOffError):
        await client.exchange(REQUEST, 5)
    assert len(raw_server.requests) == 2


async def test_what_is_no_http_is_an_answer_broken_off(raw_server, client):
    raw_server.script = [Scripted(b"SSH-2.0-server\r\n\r\n", "close")]
    with pytest.raises(BrokenOffError):
        await client.exchange(REQUEST, 5)


async def test_a_body_longer_than_asked_for_is_left_out_and_its_connection_closed(raw_server, client):
    raw_server.script = [answer(503, bytes(10_000), Retry_After="7")]
    for _ in range(2):
        got = await client.exchange(REQUEST, 10)
        assert (got.status, len(got.body), got.headers.get(b"retry-after")) == (503, 0, b"7")
    assert len(raw_server._connections) == 2


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 9000,
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
    ],
)
async def test_another_framing_is_declined(raw_server, client, head):
    raw_server.script = [Scripted(head)]
    with pytest.raises(DeclinedError):
        await client.exchange(REQUEST, 10)


@pytest.mark.parametrize("head", [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n"])
async def test_what_announces_another_answer_is_none_and_ends_its_connection(raw_server, client, head):
    """The answer that follows would be taken for that to the next request."""
    raw_server.script = [Scripted(head), answer(200)]
    with pytest.raises(DeclinedError):
        await client.exchange(REQUEST, 0, Framing.NO_BODY)
    assert (await client.exchange(REQUEST, 0)).status == 200
    assert len(raw_server._connections) == 2


async def test_the_answer_to_a_head_may_hold_much_metadata(raw_server, client):
    raw_server.script = [answer(200, x_ms_meta_a="a" * 8000)]
    assert (await client.exchange(REQUEST, 0, Framing.NO_BODY)).headers.get(b"x-ms-meta-a") == b"a" * 8000


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n6\r\n bytes\r\n0\r\n\r\n"


async def test_chunks_are_joined_and_the_connection_is_used_again(raw_server, client):
    raw_server.script = [Scripted(CHUNKS), Scripted(CHUNKS, pause_s=0.001, piece=7), answer(206, BODY)]
    for _ in range(2):
        got = await client.exchange(REQUEST, 100, Framing.ANY)
        assert (got.status, bytes(got.body)) == (200, b"some bytes")
    assert bytes((await client.exchange(REQUEST, len(BODY), Framing.ANY)).body) == BODY
    assert (len(raw_server.requests), len(raw_server._connections)) == (3, 1)


async def test_after_more_than_the_chunks_the_connection_is_closed(raw_server, client):
    raw_server.script = [Scripted(CHUNKS + b"more")]
    for _ in range(2):
        assert bytes((await client.exchange(REQUEST, 100, Framing.ANY)).body) == b"some bytes"
    assert len(raw_server._connections) == 2


@pytest.mark.parametrize("body", [b"FFF\r\n" + b"x" * 4095 + b"\r\n", b"5\r\nbytes\r\n" * 400])
async def test_chunks_that_are_more_than_asked_for_are_left_out(raw_server, client, body):
    raw_server.script = [Scripted(CHUNKS.partition(b"4\r\n")[0] + body)]
    assert not (await client.exchange(REQUEST, 100, Framing.ANY)).body


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("body", [b"", b"4\r\nso", b"4\r\nsome", b"0\r\n", b"x\r\n", b"4\r\nsomething\r\n\r\n"])
async def test_chunks_that_break_off_or_are_none_are_an_answer_broken_off(raw_server, client, body, then):
    raw_server.script = [Scripted(CHUNKS.partition(b"4\r\n")[0] + body, then=then)]
    with pytest.raises(BrokenOffError):
        await client.exchange(REQUEST, 100, Framing.ANY)


async def test_a_server_that_is_not_there_is_declined_and_left_alone(connect):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # nobody else gets the port, and until it listens nobody is there
        client = connect(f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(DeclinedError):
            await client.exchange(REQUEST, 10)
        server.listen()
        with pytest.raises(DeclinedError):
            await client.exchange(REQUEST, 10)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody came
            server.accept()


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy", "ALL_PROXY"])
async def test_what_is_too_long_or_behind_a_proxy_is_declined(raw_server, client, connect, monkeypatch, variable):
    with pytest.raises(DeclinedError):
        await client.exchange(REQUEST, client.largest + 1)
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(DeclinedError):
        await connect(raw_server.url).exchange(REQUEST, 1)
    assert raw_server.requests == []


async def test_who_waited_for_a_connection_in_vain_does_not_wait_in_another_way_as_well(silent_address):
    connections = Connections(f"http://127.0.0.1:{silent_address}", connect_s=0.2)
    with pytest.raises(trio.TooSlowError):
        await connections.connect()
    with pytest.raises(DeclinedError):  # nor does anybody here for a while
        await connections.connect()


async def test_connections_that_were_not_needed_for_long_are_closed(raw_server, client):
    connections = Connections(raw_server.url, connect_s=10)
    made = [await connections.connect() for _ in range(3)]
    for connection, now in zip(made, (0, IDLE_S - 1, IDLE_S + 1), strict=True):
        connections.give_back(connection, now)
    assert [connection.sock.fileno() < 0 for connection in made] == [True, False, False]
    connections.close()


@pytest.mark.parametrize("body", [b"", b"some"])
async def test_a_server_that_stands_still_is_too_slow(raw_server, connect, body):
    raw_server.script = [answer(200, body, length=10, then="hang")]
    with pytest.raises(trio.TooSlowError), trio.fail_after(5):
        await connect(raw_server.url, stall_s=0.1).exchange(REQUEST, 10)


async def test_a_server_that_dribbles_is_too_slow_in_the_end(raw_server, connect):
    raw_server.script = [answer(200, bytes(5000), pause_s=0.05, piece=100)]
    with pytest.raises(trio.TooSlowError), trio.fail_after(5):
        await connect(raw_server.url, stall_s=2, total_s=0.3).exchange(REQUEST, 5000)


async def test_a_cancelled_exchange_leaves_no_connection_for_the_next(raw_server, client):
    raw_server.script = [answer(200, b"ol", length=3, then="hang"), answer(200, b"new")]
    with trio.move_on_after(0.05):
        await client.exchange(REQUEST, 3)
    assert bytes((await client.exchange(REQUEST, 3)).body) == b"new"
    assert len(raw_server._connections) == 2


async def test_of_large_bodies_side_by_side_each_is_whole_and_none_waits_for_one_that_stands_still(raw_server, client):
    size = 3 << 20
    bodies = [bytes([number]) * size for number in range(1, 9)]
    raw_server.script = [answer(200, bodies[0][:1000], length=size, then="hang"), *map(partial(answer, 200), bodies)]
    got: list[bytes] = []
    all_but_one = trio.Event()

    async def fetch() -> None:
        got.append(bytes((await client.exchange(REQUEST, size)).body))
        if len(got) == len(bodies):
            all_but_one.set()

    async with trio.open_nursery() as nursery:
        for _ in range(len(bodies) + 1):
            nursery.start_soon(fetch)
        with trio.fail_after(20):
            await all_but_one.wait()
        nursery.cancel_scope.cancel()
    assert sorted(got) == bodies


async def test_bytes_of_a_large_body_are_received_though_no_more_come(raw_server, client):
    """The loop asks to be woken for much at once; what lies there has to count as progress all the same."""
    size = 3 << 20
    raw_server.script = [answer(200, bytes(300_000), length=size, then="hang")]
    came = 0
    all_that_there_is = trio.Event()

    class Counting(Progress):
        def moved(self, count):
            nonlocal came
            came += count
            if came > 300_000:  # with the head
                all_that_there_is.set()

    token = set_current(Counting())
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.exchange, REQUEST, size)
            with trio.fail_after(20):
                await all_that_there_is.wait()
            nursery.cancel_scope.cancel()
    finally:
        reset_current(token)


@pytest.mark.parametrize("late", [1, 100, 250, 5000])
async def test_the_end_of_a_body_is_received_when_it_comes(raw_server, client, monkeypatch, late):
    """Asking for more bytes than will come would be to wait in vain."""
    monkeypatch.setattr(loop_http, "WAKE_S", 1000.0)
    size = 1_000_003
    whole = answer(200, bytes(size))
    raw_server.script = [dataclasses.replace(whole, pause_s=0.02, piece=len(whole.data) - late)]
    with trio.fail_after(20):
        assert len((await client.exchange(REQUEST, size)).body) == size


async def test_a_short_answer_in_the_place_of_a_large_body_is_received_when_it_comes(raw_server, client, monkeypatch):
    monkeypatch.setattr(loop_http, "WAKE_S", 1000.0)
    refusal = answer(412, bytes(300))
    raw_server.script = [dataclasses.replace(refusal, pause_s=0.02, piece=len(refusal.data) - 300)]
    with trio.fail_after(20):
        assert (await client.exchange(REQUEST, 3 << 20)).status == 412


async def test_after_a_large_body_a_connection_serves_a_small_one(raw_server, client):
    size = 3 << 20
    raw_server.script = [answer(200, bytes(size), pause_s=0.001, piece=64 << 10), answer(200, b"x")]
    for body in (bytes(size), b"x", b"x"):
        assert bytes((await client.exchange(REQUEST, len(body))).body) == body
    assert len(raw_server._connections) == 1


async def test_who_is_cancelled_while_receiving_holds_up_nobody(raw_server, client):
    size = 3 << 20
    raw_server.script = [answer(200, bytes(size), pause_s=0.001, piece=64 << 10)]
    with trio.fail_after(20):
        for give_up_after_s in (0.001, 0.005, 0.01, 0.02):
            with trio.move_on_after(give_up_after_s):
                async with trio.open_nursery() as nursery:
                    for _ in range(4):
                        nursery.start_soon(client.exchange, REQUEST, size)
        assert bytes((await client.exchange(REQUEST, size)).body) == bytes(size)


# ---- TLS


async def test_tls_with_a_trusted_certificate(tls_server, certificate, connect, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client = connect(tls_server.url)
    assert client.largest == LARGEST_WITH_TLS
    for _ in range(3):
        assert bytes((await client.exchange(REQUEST, len(TLS_BODY))).body) == TLS_BODY
    assert tls_server.handshakes == 1


async def test_tls_with_another_certificate_is_declined(tls_server, connect):
    with pytest.raises(DeclinedError):
        await connect(tls_server.url).exchange(REQUEST, len(BODY))
    assert tls_server.handshakes == 0
