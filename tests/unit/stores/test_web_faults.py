"""Web files from servers that fail on purpose: what each failure becomes, when, and what must never get out."""

import base64
import http.client
import logging
import socket
import ssl
import time
import traceback

import pytest

from mountd.aio.retry import RetryPolicy
from mountd.catalog.web_url import parse_web_url, web_spec
from mountd.errors import (
    ChangedError,
    CorruptError,
    DeniedError,
    MountdError,
    NonsenseError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
    UsageError,
)
from mountd.stores import web_errors
from mountd.stores.azure_place import Timeouts
from mountd.stores.guarded import GuardedStore
from mountd.stores.web import WebStore
from mountd.units import ETag
from tests.support.raw_http import RawServer, Scripted, answer

PATIENT = Timeouts(connect_s=10, stall_s=10, total_s=20)
QUICK = Timeouts(connect_s=0.3, stall_s=0.3, total_s=0.6)
PIN = ETag('"1"')
CALLS = {
    "stat": lambda store: store.stat("f"),
    "read": lambda store: store.read("f", 0, 10, if_match=PIN),
    "list": lambda store: store.list_page(""),
}
each_call = pytest.mark.parametrize("call", list(CALLS))


def part(body=b"0123456789", first=0, size=100, **more):
    headers = {"ETag": PIN, "Content_Range": f"bytes {first}-{first + len(body) - 1}/{size}"}
    return answer(206, body, **{**headers, **more})


@pytest.fixture
def second_server():
    server = RawServer()
    yield server
    server.stop()


@pytest.fixture
def opened(raw_server, closing, caplog):
    """Opens a store on a scripted server, its URL full of secrets; none may come out in a log at any level."""
    caplog.set_level(logging.DEBUG)

    def open_it(*script, timeouts=PATIENT, url=None):
        raw_server.script = list(script)
        url = url or f"http://me:hunter2@127.0.0.1:{raw_server.port}/d/f?token=hunter2"
        return closing(WebStore(web_spec([("f", parse_web_url(url))]), timeouts=timeouts))

    yield open_it
    assert "hunter2" not in caplog.text


async def failure(call, store):
    """Return what `call` raises, once it is clear that it holds no secret, in no place a log could look."""
    with pytest.raises(MountdError) as caught:
        await CALLS[call](store)
    raised = caught.value
    seen = [str(raised), repr(raised), repr(vars(raised)), *traceback.format_exception(raised)]
    link = raised
    while link is not None:
        seen.append(f"{link!r} {link.args!r}")
        assert link.__context__ is None or isinstance(link.__context__, MountdError)
        link = link.__cause__ or link.__context__
    assert not any("hunter2" in text for text in seen)
    assert "\n" not in raised.message
    return raised


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (400, UsageError, "check the URL"),
        (401, DeniedError, "check the token or password in the URL"),
        (403, DeniedError, "whether it has run out"),
        (404, NotFoundError, "has no such file (404)"),
        (405, UsageError, "refuses the request (405)"),
        (410, NotFoundError, "has no such file (410)"),
        (412, ChangedError, "replaced"),
        (429, UnavailableError, "cannot answer now (429)"),
        (451, DeniedError, "refuses it (451)"),
        (500, UnavailableError, "try again later"),
        (501, UsageError, "refuses the request (501)"),
        (503, UnavailableError, "cannot answer now (503)"),
        (204, NonsenseError, "does not fit the request (204)"),
        (304, NonsenseError, "does not fit the request (304)"),
    ],
)
@pytest.mark.parametrize("call", ["stat", "read"])
async def test_each_status(opened, call, status, kind, says):
    raised = await failure(call, opened(answer(status)))
    assert type(raised) is kind
    assert says in raised.message
    assert raised.message.startswith(f"{call} http://127.0.0.1:")


async def test_a_server_may_ask_for_time(opened):
    for text, seconds in [("7", 7.0), ("soon", None)]:
        raised = await failure("stat", opened(answer(503, Retry_After=text)))
        assert raised.retry_after_s == seconds


async def test_what_is_gone_is_left_out_of_a_listing(opened):
    assert (await opened(answer(404)).list_page("")).objects == []
    raised = await failure("list", opened(answer(403)))
    assert type(raised) is DeniedError


# ---- malformed and broken answers


@pytest.mark.parametrize(
    ("scripted", "kind"),
    [
        (part(first=1), CorruptError),  # other bytes
        (part(b"01234"), CorruptError),  # fewer
        (part(length=20), CorruptError),  # a length that is not the range's
        (part(length=5), CorruptError),
        (part(length=10, then="close", Content_Range="bytes 0-9/5"), CorruptError),
        (answer(206, b"0123456789", ETag=PIN), CorruptError),  # which bytes?
        (answer(206, b"0123456789", ETag=PIN, Content_Range="bytes 0-9/*"), CorruptError),
        (answer(206, b"0123456789", Content_Range="bytes 0-9/100"), ChangedError),  # which version?
        (part(ETag='"2"'), ChangedError),
        (part(ETag='W/"1"'), ChangedError),
        (part(Content_Encoding="gzip"), ChangedError),  # a part of something else
        (Scripted(part().data[:-3], "close"), CorruptError),
        (Scripted(part().data[:-3], "reset"), UnavailableError),
        (Scripted(part().data[:30], "close"), UnavailableError),
        (Scripted(b'HTTP/1.1 200 OK\r\nETag: "1"\r\n', "close"), UnavailableError),  # an empty file?
        (Scripted(b"", "close"), UnavailableError),
        (Scripted(b"", "reset"), UnavailableError),
        (Scripted(b"HTTP/1.1 2oo OK\r\n\r\n", "close"), CorruptError),
        (Scripted(b"220 smtp.example ESMTP\r\n", "close"), CorruptError),
        (Scripted(b"HTTP/1.1 206 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "close"), CorruptError),
        (Scripted(b"HTTP/1.1 206 OK\r\nX: " + b"y" * 70_000, "close"), CorruptError),
        (answer(200, b"0123456789", ETag='"2"'), ChangedError),  # a whole file of another version
        (answer(200, b"01234", length=20, then="close", ETag=PIN), CorruptError),
    ],
)
async def test_an_answer_that_is_not_what_was_asked_for(opened, scripted, kind):
    store = opened(scripted)
    with pytest.raises(kind):
        await store.read("f", 0, 10, if_match=PIN)


@pytest.mark.parametrize(
    "said",
    [b"Content-Length: 5\r\nContent-Length: 9", b"Content-Length: 5, 9", b"Content-Length: -1", b"Content-Length: x"],
)
async def test_a_length_that_is_none_or_two_is_no_length(opened, said):
    raised = await failure(
        "stat", opened(Scripted(b'HTTP/1.1 200 OK\r\nETag: "1"\r\n' + said + b"\r\n\r\n" + b"x" * 9))
    )
    assert type(raised) is NonsenseError


async def test_a_chunked_part_and_a_chunked_file_that_breaks_off(opened):
    head = b'HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\nETag: "1"\r\nContent-Range: bytes 0-9/100\r\n\r\n'
    store = opened(Scripted(head + b"4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n"))
    assert (await store.read("f", 0, 10, if_match=PIN)).data == b"0123456789"
    for broken in (b"4\r\n0123\r\n", b"4\r\n01", b"zz\r\n0123"):
        raised = await failure("read", opened(Scripted(head + broken, "close")))
        assert type(raised) is CorruptError


async def test_a_whole_file_without_a_length_ends_where_the_connection_does(opened):
    store = opened(Scripted(b'HTTP/1.0 200 OK\r\nETag: "1"\r\n\r\n0123456789', "close"))
    info = await store.stat("f")
    assert (info.size, info.etag) == (10, PIN)
    assert (await store.read("f", 3, 4, if_match=PIN)).data == b"3456"


async def test_a_copy_that_broke_off_is_begun_again(opened, raw_server):
    body = bytes(range(256)) * 1000
    whole = {"ETag": PIN}
    store = opened(answer(200, body[:100_000], length=len(body), then="close", **whole), answer(200, body, **whole))
    guarded = GuardedStore(store, RetryPolicy(first_pause_s=0.01))
    info = await guarded.stat("f")
    assert info.size == len(body)
    assert (await guarded.read("f", 0, 50, if_match=PIN)).data == body[:50]
    assert (await guarded.read("f", 200_000, 50, if_match=PIN)).data == body[200_000:200_050]
    assert len(raw_server.requests) == 2


async def test_a_file_that_shrinks_between_two_questions(opened):
    """416 for the part, and then fewer bytes there."""
    store = opened(answer(416), part(b"0", size=5))
    chunk = await store.read("f", 7, 10, if_match=PIN)
    assert (bytes(chunk.data), chunk.size) == (b"", 5)
    raised = await failure("read", opened(answer(416), part(b"0", size=5, ETag='"2"')))
    assert type(raised) is ChangedError
    raised = await failure("read", opened(answer(416), part(b"0", size=500)))
    assert type(raised) is UnavailableError


# ---- connections


async def test_one_connection_serves_many_requests(opened, raw_server):
    store = opened(part())
    for _ in range(5):
        await store.read("f", 0, 10, if_match=PIN)
    assert len(raw_server._connections) == 1


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_kept_connection_that_the_server_gave_up_is_not_an_error(opened, raw_server, end):
    store = opened(part(then=end), part())
    for _ in range(3):
        assert (await store.read("f", 0, 10, if_match=PIN)).size == 100
    # given up just when the next request is on its way
    raw_server.script = [part(), Scripted(b"", end), part()]
    for _ in range(3):
        assert (await store.read("f", 0, 10, if_match=PIN)).size == 100


async def test_bytes_behind_an_answer_are_not_the_next_answer(opened, raw_server):
    store = opened(Scripted(part().data + part(b"XXXXXXXXXX").data), part())
    for _ in range(3):
        assert (await store.read("f", 0, 10, if_match=PIN)).data == b"0123456789"


@pytest.mark.parametrize(
    "scripted",
    [
        Scripted(b"", "hang"),
        Scripted(part().data[:20], "hang"),
        Scripted(part().data[:-3], "hang"),
        Scripted(part().data * 100, pause_s=0.05, piece=2),
        Scripted(b"HTTP/1.1 206 OK\r\n" + b"X: y\r\n" * 90, pause_s=0.05, piece=4),
    ],
)
async def test_every_wait_ends(opened, scripted):
    started = time.monotonic()
    raised = await failure("read", opened(scripted, timeouts=QUICK))
    assert type(raised) is UnavailableError
    assert "does not answer in time" in raised.message
    assert time.monotonic() - started < 5


async def test_a_copy_that_stalls_ends_and_one_that_is_slow_goes_on(opened):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    raised = await failure("stat", opened(Scripted(head + b"x" * 50, "hang"), timeouts=QUICK))
    assert type(raised) is UnavailableError
    body = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 100000\r\n\r\n' + b"x" * 100_000
    store = opened(Scripted(body, pause_s=0.05, piece=5000), timeouts=QUICK)
    guarded = GuardedStore(store, RetryPolicy(first_pause_s=0.01))
    assert (await guarded.read("f", 99_990, 20, if_match=PIN)).data == b"x" * 10  # 1 s in all
    assert guarded.retries


async def test_a_server_that_refuses_connections(opened):
    raised = await failure("stat", opened(url="http://127.0.0.1:1/f"))
    assert type(raised) is UnreachableError
    assert "refuses connections; check the port" in raised.message


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (socket.gaierror(socket.EAI_NONAME, "?"), UnreachableError, "cannot reach host: its name is not known"),
        (socket.gaierror(socket.EAI_AGAIN, "?"), UnavailableError, "its name cannot be looked up at present"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), NonsenseError, "does not speak TLS as it should"),
        (ssl.SSLEOFError(8, "EOF"), UnavailableError, "the connection to host failed"),
        (OSError("Tunnel connection failed: 403 no"), DeniedError, "the proxy refuses to connect to it"),
        (OSError("Tunnel connection failed: 502 no"), UnavailableError, "the proxy refuses to connect to it"),
        (http.client.IncompleteRead(b""), CorruptError, "broke off"),
        (http.client.BadStatusLine("SSH-2.0"), NonsenseError, "check that a web server is there"),
    ],
)
def test_what_failures_of_connections_mean(error, kind, says):
    raised = web_errors.from_failure("stat f", "host", error)
    assert type(raised) is kind
    assert says in raised.message


# ---- redirects and credentials


def login(head):
    return [line for line in head.split(b"\r\n") if line.lower().startswith(b"authorization:")]


async def test_a_password_goes_to_its_own_server_only(opened, raw_server, second_server):
    there = f"http://you:hunter2@127.0.0.1:{second_server.port}/real?s=hunter2"
    second_server.script = [part()]
    store = opened(answer(302, Location=there))
    assert (await store.read("f", 0, 10, if_match=PIN)).data == b"0123456789"
    basic = b"Authorization: Basic " + base64.b64encode(b"me:hunter2")
    assert login(raw_server.requests[0]) == [basic]
    assert raw_server.requests[0].startswith(b"GET /d/f?token=hunter2 HTTP/1.1\r\n")
    assert login(second_server.requests[0]) == []
    assert second_server.requests[0].startswith(b"GET /real?s=hunter2 HTTP/1.1\r\n")
    assert b"If-Match" in second_server.requests[0]
    # back at home it is sent again
    second_server.script = [answer(302, Location=f"http://127.0.0.1:{raw_server.port}/home")]
    store = opened(answer(302, Location=there), part())
    await store.read("f", 0, 10, if_match=PIN)
    assert login(raw_server.requests[-1]) == [basic]
    assert raw_server.requests[-1].startswith(b"GET /home HTTP/1.1\r\n")


async def test_where_a_redirect_led_is_remembered_until_it_fails(opened, raw_server, second_server):
    there = f"http://127.0.0.1:{second_server.port}/signed?s=hunter2"
    second_server.script = [part()]
    store = opened(answer(302, Location=there))
    for _ in range(4):
        await store.read("f", 0, 10, if_match=PIN)
    assert (len(raw_server.requests), len(second_server.requests)) == (1, 4)
    second_server.script = [answer(403), part()]  # the signature has run out
    assert (await store.read("f", 0, 10, if_match=PIN)).size == 100
    assert len(raw_server.requests) == 2
    await store.stat("f")  # what is there now is asked of the first server
    assert len(raw_server.requests) == 3


@pytest.mark.parametrize(
    ("location", "kind", "says"),
    [
        ("/d/f", UsageError, "from one URL to the next without end"),
        ("?again", UsageError, "without end"),
        ("ftp://host/f", UsageError, "redirects to what is no web server"),
        ("file:///etc/passwd", UsageError, "redirects to what is no web server"),
        ("http://[oops/f", UsageError, "redirects to what is no web server"),
        ("http://h:port/f", UsageError, "redirects to what is no web server"),
        ("", NonsenseError, "does not say where to"),
    ],
)
async def test_redirects_to_nowhere(opened, location, kind, says):
    raised = await failure("read", opened(answer(302, Location=location)))
    assert type(raised) is kind
    assert says in raised.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_every_kind_of_redirect_is_followed_to_odd_names(opened, raw_server, status):
    store = opened(answer(status, Location="../a%20b/\u00fc?x=%2F"), part())
    await store.read("f", 0, 10, if_match=PIN)
    assert raw_server.requests[-1].startswith(b"GET /a%20b/%C3%83%C2%BC?x=%2F HTTP/1.1") or raw_server.requests[
        -1
    ].startswith(b"GET /a%20b/%C3%BC?x=%2F HTTP/1.1")


# ---- proxies


async def test_a_proxy_is_asked_for_the_whole_url(opened, raw_server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://me:hunter2@127.0.0.1:{raw_server.port}")
    store = opened(part(), url="http://files.invalid/d/f")
    assert (await store.read("f", 0, 10, if_match=PIN)).size == 100
    head = raw_server.requests[0]
    assert head.startswith(b"GET http://files.invalid/d/f HTTP/1.1\r\n")
    assert b"\r\nHost: files.invalid\r\n" in head
    assert b"\r\nProxy-Authorization: Basic " + base64.b64encode(b"me:hunter2") in head
    monkeypatch.setenv("no_proxy", "files.invalid")
    raised = await failure("read", opened(part(), url="http://files.invalid/d/f"))
    assert "cannot reach files.invalid: its name" in raised.message


async def test_a_proxy_that_does_not_connect(opened, raw_server, monkeypatch):
    monkeypatch.setenv("https_proxy", f"127.0.0.1:{raw_server.port}")
    raised = await failure("read", opened(answer(403), url="https://files.invalid/d/f"))
    assert "the proxy refuses to connect to it" in raised.message
    assert raw_server.requests[0].startswith(b"CONNECT files.invalid:443 HTTP/1.")


@pytest.mark.parametrize("proxy", ["socks5://me:hunter2@h:1", "http://h:port", "http://"])
async def test_a_proxy_that_is_none(opened, monkeypatch, proxy):
    monkeypatch.setenv("all_proxy", proxy)
    raised = await failure("read", opened(part(), url="http://files.invalid/f"))
    assert type(raised) is UsageError


async def test_this_node_is_reached_without_a_proxy(opened, monkeypatch):
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    assert (await opened(part()).read("f", 0, 10, if_match=PIN)).size == 100
