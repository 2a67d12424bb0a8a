"""Web files of a real nginx: parts, redirects, logins, certificates; and what it logs of our requests."""

import contextlib
import itertools
import os
import socket
import threading
import time

import pytest

from mountd.catalog.web_url import parse_web_url, web_spec
from mountd.errors import DeniedError, UsageError
from mountd.stores.web import WebStore
from mountd.units import MIB

_names = itertools.count(1)


@pytest.fixture
def file(nginx):
    """A file of 3 MiB that was written long ago: its path and its name."""
    path = nginx.root / f"file {next(_names)}.bin"
    path.write_bytes(os.urandom(3 * MIB))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    yield path
    path.unlink()


@pytest.fixture
def opened(nginx, closing, file):
    def open_it(server, login=""):
        url = f"{nginx.urls[server]}/{file.name}".replace("://", f"://{login}")
        return closing(WebStore(web_spec([("f", parse_web_url(url))])))

    return open_it


async def whole(store):
    info = await store.stat("f")
    pieces = [await store.read("f", start, MIB, if_match=info.etag) for start in range(0, info.size, MIB)]
    return b"".join(piece.data for piece in pieces)


@pytest.mark.parametrize("server", ["plain", "no_etag", "bare", "no_parts", "no_head", "redirect"])
async def test_a_file_comes_whole_from_every_server(opened, file, server):
    assert await whole(opened(server)) == file.read_bytes()


async def test_names_times_and_versions(opened, file):
    info = await opened("plain").stat("f")
    assert info.mtime_ns == 1_700_000_000 * 10**9
    assert info.etag == f'"{1_700_000_000:x}-{3 * MIB:x}"'
    info = await opened("no_etag").stat("f")
    assert info.etag == f'"last-modified-1700000000-{3 * MIB}"'
    assert (await opened("bare").stat("f")).etag.startswith('"sha256-')
    now = int(time.time())
    os.utime(file, (now + 1, now + 1))
    assert (await opened("plain").stat("f")).etag.startswith('"sha256-')


async def test_the_requests_are_the_fewest(nginx, opened, file):
    port = nginx.urls["plain"].rpartition(":")[2]
    before = len(nginx.requests())
    await whole(opened("plain"))
    mine = [line for line in nginx.requests()[before:] if line.startswith(port)]
    assert [line.rpartition(" ")[2] for line in mine] == [
        "bytes=0-0",
        f"bytes=0-{MIB - 1}",
        f"bytes={MIB}-{2 * MIB - 1}",
        f"bytes={2 * MIB}-{3 * MIB - 1}",
    ]
    assert {line.split()[1] for line in mine} == {"206"}


async def test_a_login(opened, file):
    assert await whole(opened("login", "me:pass%20word@")) == file.read_bytes()
    for login in ("", "me:wrong@", "me@"):
        with pytest.raises(DeniedError, match=r"refuses it \(401\); check the token or password in the URL"):
            await opened("login", login).stat("f")


async def test_redirects_in_a_circle(opened):
    with pytest.raises(UsageError, match="without end"):
        await opened("circle").stat("f")


async def test_a_certificate_that_nobody_vouches_for_is_refused(nginx, opened, file, monkeypatch):
    with pytest.raises(DeniedError, match=r"its TLS certificate is not trusted; .* SSL_CERT_FILE"):
        await opened("tls").stat("f")
    monkeypatch.setenv("SSL_CERT_FILE", str(nginx.certificate))
    assert await whole(opened("tls")) == file.read_bytes()


async def test_a_certificate_for_another_host_is_refused(nginx, closing, file, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(nginx.certificate))
    url = f"{nginx.urls['tls']}/{file.name}".replace("127.0.0.1", "localhost")
    store = closing(WebStore(web_spec([("f", parse_web_url(url))])))
    with pytest.raises(DeniedError, match="its TLS certificate is not trusted"):
        await store.stat("f")


@pytest.fixture
def tunnel(nginx):
    """A proxy whose every tunnel leads to the server `tls`; gives its URL and the heads that came."""
    listener = socket.create_server(("127.0.0.1", 0))
    heads = []

    def splice(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(65536)
            heads.append(head)
            server = socket.create_connection(("127.0.0.1", int(nginx.urls["tls"].rpartition(":")[2])))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=splice, args=(server, client))
            back.start()
            splice(client, server)
            back.join()
            client.close()
            server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://me:hunter2@127.0.0.1:{listener.getsockname()[1]}", heads
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


async def test_https_goes_through_a_tunnel_of_the_proxy(nginx, file, tunnel, monkeypatch):
    url, heads = tunnel
    monkeypatch.setenv("https_proxy", url)
    monkeypatch.setenv("SSL_CERT_FILE", str(nginx.certificate))
    store = WebStore(web_spec([("f", parse_web_url(f"https://files.invalid/{file.name}"))]))
    assert await whole(store) == file.read_bytes()
    (head,) = heads
    assert head.startswith(b"CONNECT files.invalid:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic " in head
    await store.aclose()


async def test_a_redirect_that_gives_up_https_is_refused(nginx, opened, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(nginx.certificate))
    with pytest.raises(DeniedError, match=f"redirects from https to {nginx.urls['plain']}"):
        await opened("tls_down").stat("f")
