"""Exchanges without a task for each, against a server that answers with scripted bytes; and with TLS."""

import select
import socket

import pytest
import trio

from mountd.stores import quick_http
from mountd.stores.http_connections import Connections
from mountd.stores.loop_http import LoopHttp
from mountd.stores.quick_http import LARGEST, QuickHttp
from tests.support.raw_http import Scripted, answer
from tests.support.tls_http import TLS_BODY

REQUEST = b"GET /object HTTP/1.1\r\nHost: here\r\n\r\n"
BODY = bytes(range(256)) * 400
SIZE = len(BODY)


class Client:
    """Both ways to one server."""

    def __init__(self, url, *, stall_s=10, total_s=20):
        self.connections = Connections(url, connect_s=10)
        self.ordinary = LoopHttp(self.connections, stall_s=stall_s, total_s=total_s)
        self.quick = QuickHttp(self.connections, stall_s=stall_s, total_s=total_s)
        self.moved = 0

    async def serve(self):
        await self.quick.serve(self._moved)

    def _moved(self):
        self.moved += 1

    async def ask(self, length=SIZE):
        """Return the answer of an exchange that is begun; "no" if it is not."""
        answers, here = [], trio.Event()

        def done(got, _got_on_at):
            answers.append(got)
            here.set()

        if not self.quick.begin(REQUEST, length, done):
            return "no"
        assert not answers, "never from within"
        with trio.fail_after(20):
            await here.wait()
        assert len(answers) == 1
        return answers[0]


@pytest.fixture
async def make_client(nursery):
    made = []

    async def make(url, **timeouts):
        client = Client(url, **timeouts)
        made.append(client)
        nursery.start_soon(client.serve)
        await trio.testing.wait_all_tasks_blocked()
        return client

    yield make
    nursery.cancel_scope.cancel()
    for client in made:
        client.connections.close()


@pytest.fixture
async def client(raw_server, make_client):
    """One that has a connection at hand."""
    raw_server.script = [answer(206, BODY, ETag='"1"')]
    client = await make_client(raw_server.url)
    await client.ordinary.exchange(REQUEST, len(BODY))
    return client


async def test_an_answer_comes_on_a_connection_that_was_made_before(raw_server, client):
    for _ in range(3):
        got = await client.ask()
        assert (got.status, got.headers.get(b"etag"), bytes(got.body)) == (206, b'"1"', BODY)
    assert (len(raw_server.requests), len(raw_server._connections)) == (4, 1)


async def test_both_ways_share_their_connections(raw_server, client):
    for _ in range(3):
        assert bytes((await client.ask()).body) == BODY
        assert bytes((await client.ordinary.exchange(REQUEST, len(BODY))).body) == BODY
    assert len(raw_server._connections) == 1


@pytest.mark.parametrize("size", [0, 1, 40_000, LARGEST])
@pytest.mark.parametrize("room", [0, 1])
async def test_a_body_is_whole_whatever_its_size(raw_server, client, size, room):
    raw_server.script = [answer(200, (BODY * 3)[:size])]
    got = await client.ask(min(size + room, LARGEST))
    assert bytes(got.body) == (BODY * 3)[:size]


async def test_an_answer_that_comes_in_pieces_is_whole(raw_server, client):
    raw_server.script = [answer(206, b"some bytes", pause_s=0.001, piece=7, ETag='"1"')]
    got = await client.ask(10)
    assert (bytes(got.body), got.headers.get(b"etag")) == (b"some bytes", b'"1"')


async def test_many_at_once_each_get_their_own(raw_server, client):
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(client.ordinary.exchange, REQUEST, len(BODY))
    got = []

    async def ask():
        got.append(await client.ask())

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask)
    assert [bytes(one.body) for one in got] == [BODY] * 8


async def test_without_a_connection_at_hand_nothing_is_begun(raw_server, make_client):
    assert await (await make_client(raw_server.url)).ask() == "no"


async def test_nothing_is_begun_that_is_too_large_or_too_much(raw_server, client, monkeypatch):
    assert await client.ask(LARGEST + 1) == "no"
    monkeypatch.setattr(quick_http, "MOST_EXCHANGES", 0)
    assert await client.ask() == "no"


async def test_nothing_is_begun_while_it_rests(raw_server, client, monkeypatch):
    client.quick.rest()
    assert await client.ask() == "no"
    monkeypatch.setattr(quick_http, "REST_S", 0.0)
    client.quick.rest()
    assert bytes((await client.ask()).body) == BODY


async def test_nothing_is_begun_before_and_after_it_is_served(raw_server):
    client = Client(raw_server.url)
    raw_server.script = [answer(206, BODY)]
    await client.ordinary.exchange(REQUEST, len(BODY))
    assert await client.ask() == "no"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.serve)
        await trio.testing.wait_all_tasks_blocked()
        assert bytes((await client.ask()).body) == BODY
        nursery.cancel_scope.cancel()
    assert await client.ask() == "no"
    client.connections.close()


@pytest.mark.parametrize(
    "script",
    [
        Scripted(b"", then="close"),
        Scripted(b"", then="reset"),
        Scripted(b"HTTP/1.1 200 OK\r\n", then="close"),
        Scripted(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        Scripted(b"HTTP/1.1 two OK\r\nContent-Length: 1\r\n\r\nx"),
        answer(206, BODY[:-1], length=len(BODY), then="close"),
        answer(206, BODY + bytes(5000)),
        answer(206, BODY, length=len(BODY) - 1),
        Scripted(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
        Scripted(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000 + b"\r\n\r\n"),
    ],
    ids=["close", "reset", "half a head", "no HTTP", "no status", "cut", "longer", "more", "chunked", "long head"],
)
async def test_what_is_no_plain_answer_is_for_the_ordinary_way(raw_server, client, script):
    raw_server.script = [script]
    assert await client.ask() is None
    raw_server.script = [answer(206, BODY)]
    assert await client.ask() == "no"  # its connection is gone
    assert bytes((await client.ordinary.exchange(REQUEST, len(BODY))).body) == BODY
    assert bytes((await client.ask()).body) == BODY


async def test_a_server_that_says_close_is_taken_at_its_word(raw_server, client):
    raw_server.script = [answer(200, b"x", Connection="close")]
    assert bytes((await client.ask(1)).body) == b"x"
    assert await client.ask() == "no"


async def test_a_connection_that_the_server_closed_while_idle_is_not_used(raw_server, client):
    await client.ask()  # from now on it is watched
    raw_server._connections[0].shutdown(socket.SHUT_RDWR)
    with trio.fail_after(20):
        while await client.ask() != "no":  # noqa: ASYNC110 - until the end was heard of, by nobody who would tell
            await trio.sleep(0.005)
    assert bytes((await client.ordinary.exchange(REQUEST, len(BODY))).body) == BODY


async def test_an_exchange_that_stands_still_ends(raw_server, make_client):
    raw_server.script = [answer(206, BODY)]
    client = await make_client(raw_server.url, stall_s=0.2)
    await client.ordinary.exchange(REQUEST, len(BODY))
    raw_server.script = [answer(206, BODY[:1000], length=len(BODY), then="hang")]
    assert await client.ask() is None


async def test_an_exchange_that_drips_ends(raw_server, make_client):
    raw_server.script = [answer(206, BODY)]
    client = await make_client(raw_server.url, stall_s=0.4, total_s=0.5)
    await client.ordinary.exchange(REQUEST, len(BODY))
    raw_server.script = [answer(206, BODY, pause_s=0.02, piece=1)]
    assert await client.ask() is None
    assert client.moved == 0


async def test_an_exchange_that_gets_on_takes_as_long_as_it_takes_and_is_told_of(raw_server, make_client):
    """Each byte is judged when it comes: that others have ended does not make it owe more than it did."""
    raw_server.script = [answer(206, BODY)]
    client = await make_client(raw_server.url, stall_s=0.2, total_s=0.3)
    await client.ordinary.exchange(REQUEST, len(BODY))
    raw_server.script = [answer(206, BODY, pause_s=0.01, piece=2000)]
    quick_http_share = [1000]
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(quick_http, "share_of", lambda _: quick_http_share[0])
    try:
        assert bytes((await client.ask()).body) == BODY
    finally:
        monkeypatch.undo()
    assert client.moved > 0


async def test_a_defect_in_whoever_asked_is_nobody_elses(raw_server, client, caplog):
    def defect(*_):
        raise ValueError("defect")

    assert client.quick.begin(REQUEST, SIZE, defect)
    await client.ordinary.exchange(REQUEST, SIZE)
    with trio.fail_after(20):
        while (got := await client.ask()) == "no":  # noqa: ASYNC110 - its connection comes back, nobody is told
            await trio.sleep(0.005)
    assert bytes(got.body) == BODY
    assert "an answer was not taken" in caplog.text


async def test_a_connection_on_which_something_lies_already_is_not_used(raw_server, client):
    """It would be taken for the answer, and each request get that of the one before."""
    await client.ask()
    raw_server._connections[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!")
    [idle] = client.connections._idle.values()
    assert select.select([idle.sock], [], [], 20)[0]  # it is here, and the task that would see it had no turn
    assert await client.ask() == "no"


async def test_what_is_under_way_at_the_end_is_closed_and_nobody_is_called(raw_server):
    client = Client(raw_server.url)
    raw_server.script = [answer(206, BODY)]
    await client.ordinary.exchange(REQUEST, len(BODY))
    raw_server.script = [Scripted(then="hang")]
    called = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.serve)
        await trio.testing.wait_all_tasks_blocked()
        assert client.quick.begin(REQUEST, 1, lambda *came: called.append(came))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    client.connections.close()
    assert called == []


@pytest.mark.parametrize("how", ["reset", "alert", "closed"])
async def test_an_idle_tls_connection_may_end_in_any_way(tls_server, certificate, make_client, monkeypatch, how):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client = await make_client(tls_server.url)
    await client.ordinary.exchange(REQUEST, len(TLS_BODY))
    assert bytes((await client.ask()).body) == TLS_BODY
    tls_server.end_connection(how)
    with trio.fail_after(20):
        while await client.ask() not in ("no", None):  # noqa: ASYNC110 - until the end was heard of
            await trio.sleep(0.005)
    assert bytes((await client.ordinary.exchange(REQUEST, len(TLS_BODY))).body) == TLS_BODY
    assert bytes((await client.ask()).body) == TLS_BODY
    assert tls_server.handshakes == 2


async def test_with_tls(tls_server, certificate, make_client, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client = await make_client(tls_server.url)
    await client.ordinary.exchange(REQUEST, len(TLS_BODY))
    for _ in range(3):
        assert bytes((await client.ask()).body) == TLS_BODY
    assert tls_server.handshakes == 1
