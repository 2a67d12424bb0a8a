"""A web server on loopback whose every habit can be set: what it says of versions, what it sends, when it changes."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Habits:
    """How the server answers."""

    etag: str | None = "strong"
    """"strong": a new one for each content; anything else is sent as it is, None not at all."""
    modified: float | None = None
    """`Last-Modified`, seconds since 1970; None for none."""
    parts: bool = True
    """`Range` is respected."""
    conditions: bool = True
    """`If-Match` is respected."""
    length: bool = True
    """`Content-Length` is sent with whole files; else they come in chunks."""
    encode: Callable[[bytes], bytes] | None = None
    """Applied to whole files, which then say `encoding`."""
    encoding: str = "gzip"
    date: bool = True
    bytes_s: float | None = None
    """What all bodies together get a second."""
    after: Callable[["WebOrigin"], None] | None = None
    """Called after each answer: the file may change between any two."""


@dataclass
class WebOrigin:
    """Serves one file under every path."""

    content: bytes = b""
    habits: Habits = field(default_factory=Habits)
    requests: list[dict[str, str]] = field(default_factory=list)
    """The headers of each, names in lower case."""

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self._over = threading.Event()
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                return

            def do_GET(self) -> None:
                origin._answer(self)

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                return  # clients break off on purpose

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        """The file."""
        return f"http://127.0.0.1:{self._server.server_port}/d/file.csv"

    def stop(self) -> None:
        """End the server."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        with self.lock:
            content, habits = self.content, self.habits
            asked = {name.lower(): value for name, value in request.headers.items()}
            self.requests.append(asked)
            etag = f'"{hash(content)}"' if habits.etag == "strong" else habits.etag
            try:
                self._send(request, asked, content, habits, etag)
            finally:  # also after a client that has heard enough
                if habits.after is not None:
                    habits.after(self)

    def _send(
        self, request: BaseHTTPRequestHandler, asked: dict[str, str], content: bytes, habits: Habits, etag: str | None
    ) -> None:
        first, stop, status = 0, len(content), 200
        if habits.conditions and "if-match" in asked and asked["if-match"] != etag:
            status, content = 412, b""
        elif habits.parts and "range" in asked:
            start, _, end = asked["range"].removeprefix("bytes=").partition("-")
            first, stop = int(start), min(int(end) + 1, len(content))
            status = 206 if first < stop else 416
        body = content[first:stop] if status != 416 else b""
        request.send_response_only(status)
        if habits.date:
            request.send_header("Date", formatdate(time.time(), usegmt=True))
        if etag is not None:
            request.send_header("ETag", etag)
        if habits.modified is not None:
            request.send_header("Last-Modified", formatdate(habits.modified, usegmt=True))
        if status == 206:
            request.send_header("Content-Range", f"bytes {first}-{stop - 1}/{len(content)}")
        if status == 200 and habits.encode is not None:
            body = habits.encode(body)
            request.send_header("Content-Encoding", habits.encoding)
        if habits.length or status != 200:
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            self._write(request, body, habits)
            return
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            self._write(request, b"%x\r\n%s\r\n" % (len(piece), piece), habits)
        request.wfile.write(b"0\r\n\r\n")

    def _write(self, request: BaseHTTPRequestHandler, data: bytes, habits: Habits) -> None:
        if habits.bytes_s is None:
            request.wfile.write(data)
            return
        length = int(habits.bytes_s / 50)
        for start in range(0, len(data), length):
            piece = data[start : start + length]
            request.wfile.write(piece)
            self._over.wait(len(piece) / habits.bytes_s)


@pytest.fixture
def web_origin() -> Iterator[WebOrigin]:
    """A server with the usual habits."""
    origin = WebOrigin()
    yield origin
    origin.stop()
