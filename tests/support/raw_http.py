"""An HTTP server on loopback that answers with exactly the bytes, breaks and silences a test scripts."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import pytest


@dataclass(frozen=True)
class Scripted:
    """What the server does with one request."""

    data: bytes = b""
    """Sent as it is."""
    then: Literal["keep", "close", "reset", "hang"] = "keep"
    """What happens to the connection afterwards."""
    pause_s: float = 0.0
    """Between the pieces of `data`."""
    piece: int = 1
    """Bytes of `data` sent at once if there are pauses."""


def answer(
    status: int, body: bytes = b"", *, length: int | None = None, then="keep", pause_s=0.0, piece=1, **headers: str
):
    """Return a scripted answer; `length` is what Content-Length says if it is not the truth."""
    lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Scripted("\r\n".join([*lines, "", ""]).encode() + body, then, pause_s, piece)


@dataclass
class RawServer:
    """Answers the requests in turn with `script`; the last one again and again."""

    script: list[Scripted] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    """Heads of the requests that came."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/acct"
        self._start(self._accept)

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
        for thread in self._threads:
            thread.join()

    def _start(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while self._one(connection):
                    pass
            except OSError:
                return

    def _one(self, connection: socket.socket) -> bool:
        received = b""
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                return False
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        expected = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                expected = int(line.split(b":")[1])
        while len(body) < expected:
            body += connection.recv(65536)
        with self._lock:
            self.requests.append(head)
            act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if act.pause_s:
            for start in range(0, len(act.data), act.piece):
                connection.sendall(act.data[start : start + act.piece])
                self._over.wait(act.pause_s)
        else:
            connection.sendall(act.data)
        if act.then == "hang":
            self._over.wait()
        if act.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return act.then == "keep"


@pytest.fixture
def raw_server() -> Iterator[RawServer]:
    """A server without a script."""
    server = RawServer()
    yield server
    server.stop()
