"""HTTP/1.1 exchanges on sockets of the loop, without threads.

A small range through a thread costs more for handing it over than for fetching it. Here the loop itself sends the
request and receives the answer into the buffer that is kept: half the processor time of a small file, and on plain
connections of a large one. What this cannot do (a proxy, another framing than `Content-Length`, a server to which no
connection can be made) it *declines*, and the caller asks in another way, whose errors say what is wrong. Invariants:

- An answer is whole or an error, and only after a whole answer is a connection used again.
- A request is sent once; twice only if the server closed a kept connection without a word, as it may at any time.
- A cancelled or failed exchange closes its connection.
- After a connection that could not be made none is tried for `REST_S`: a store that is down is not asked twice.
- At most `MOST_EXCHANGES` run; more are declined.
"""

import select
import socket
import ssl
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import trio

from mountd.aio.buffers import unfilled
from mountd.aio.progress import current
from mountd.units import KIB, MIB

LARGEST = 8 * MIB
"""Bytes of body on a plain connection."""
LARGEST_WITH_TLS = 1 * MIB
"""Bytes of body with TLS. Larger ones, too, cost half of what they cost in threads; but the loop decrypts on one
processor, and threads on all of them."""
AT_ONCE = 1 * MIB
"""Bytes that are received before the loop's other tasks have their turn."""
MOST_EXCHANGES = 192
IDLE_S = 60.0
"""A connection that was idle for longer is not used again: services close theirs after two minutes or more."""
REST_S = 30.0
_HEAD_ROOM = 2 * KIB
"""For status line and headers; storage services send less than 1,000 bytes."""
_WORTH_COPYING = 16 * _HEAD_ROOM
"""A body shorter than this leaves its buffer, whose head would be an unaccounted part of what is kept."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: dict[bytes, bytes]
    """Names in lower case; of repeated ones the last."""
    body: memoryview


class DeclinedError(Exception):
    """This is not for here: the caller is to ask in another way."""


class BrokenOffError(ConnectionError):
    """The connection ended in the middle of an answer."""


class _UnansweredError(ConnectionError):
    """The connection ended before the first byte of an answer."""


class _Patience:
    """A scope that ends an exchange which stands still, or makes no progress."""

    __slots__ = ("_progress", "_stall_s", "_total_s", "scope")

    def __init__(self, stall_s: float, total_s: float) -> None:
        self._stall_s = stall_s
        self._total_s = total_s
        self._progress = current()
        self.scope = trio.CancelScope(deadline=self._ends_at())

    def moved(self, count: int) -> None:
        """Bytes came."""
        self._progress.moved(count)

    def renew(self) -> None:
        """Something moved, and is waited for again."""
        self.scope.deadline = self._ends_at()

    def _ends_at(self) -> float:
        return trio.current_time() + min(self._stall_s, self._progress.left_s(self._total_s))


class _Connection:
    """A connected socket that does not block, with TLS where the URL has it."""

    __slots__ = ("idle_since", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.idle_since = 0.0

    def is_usable(self, now: float) -> bool:
        """Whether another request may be sent: it is not old, and the other side has neither closed it nor spoken."""
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        return now - self.idle_since < IDLE_S and not poller.poll(0)


class LoopHttp:
    """Exchanges with one server.

    Args:
        url: scheme, host and port; the rest is ignored.
        connect_s: what making a connection may take, seconds.
        stall_s: for how long an exchange may stand still, seconds.
        total_s: for how long it may make no progress (`aio.progress`), seconds.
    """

    def __init__(self, url: str, *, connect_s: float, stall_s: float, total_s: float) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._connect_s = connect_s
        self._stall_s = stall_s
        self._total_s = total_s
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self.largest = LARGEST if self._context is None else LARGEST_WITH_TLS
        """The longest body that is fetched here, bytes."""
        self._proxied = parts.scheme in getproxies() and not proxy_bypass(self._host)
        self._idle: list[_Connection] = []
        self._running = 0
        self._resting_until = -float("inf")

    async def exchange(self, request: bytes, length: int) -> Answer:
        """Send `request` and return the answer; a body of more than `length` bytes is left out.

        Raises:
            DeclinedError: ask in another way.
            trio.TooSlowError: the server stood still, or made no progress.
            BrokenOffError: the answer was cut off.
            OSError: the connection failed before it began.
        """
        if length > self.largest or self._proxied or self._running >= MOST_EXCHANGES:
            raise DeclinedError
        self._running += 1
        try:
            while (used := self._take_idle()) is not None:
                with suppress(_UnansweredError):
                    return await self._on(used, request, length)
            return await self._on(await self._connect(), request, length)
        finally:
            self._running -= 1

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().sock.close()

    async def _on(self, connection: _Connection, request: bytes, length: int) -> Answer:
        whole = False
        patience = _Patience(self._stall_s, self._total_s)
        try:
            with patience.scope:
                await _send(connection.sock, request)
                answer, whole = await self._receive(connection.sock, length, patience)
                return answer
        finally:
            if whole:
                connection.idle_since = trio.current_time()
                self._idle.append(connection)
            else:
                connection.sock.close()
        raise trio.TooSlowError

    async def _receive(self, sock: socket.socket, length: int, patience: "_Patience") -> tuple[Answer, bool]:
        """Return the answer, and whether the connection can be used for another."""
        buffer = memoryview(unfilled(_HEAD_ROOM + length))
        got, whole = 0, -1
        status, start = 0, 0
        headers: dict[bytes, bytes] = {}
        if self._context is None:
            await trio.lowlevel.wait_readable(sock)  # it cannot be here yet
        while whole < 0 or got < whole:
            try:
                count = sock.recv_into(buffer[got : got + AT_ONCE])
            except (BlockingIOError, ssl.SSLWantReadError):
                patience.renew()
                await trio.lowlevel.wait_readable(sock)
                continue
            except OSError as error:
                raise (BrokenOffError if got else _UnansweredError) from error
            if not count:
                raise BrokenOffError if got else _UnansweredError
            got += count
            patience.moved(count)
            if count == AT_ONCE:
                await trio.lowlevel.checkpoint()
            if whole < 0:
                head, separator, _ = bytes(buffer[: min(got, _HEAD_ROOM)]).partition(b"\r\n\r\n")
                if separator:
                    status, headers = _parsed(head)
                    start = len(head) + 4
                    whole = start + _body_length(headers)
                    if whole > len(buffer):
                        return Answer(status, headers, memoryview(b"")), False
                elif got >= _HEAD_ROOM:
                    raise DeclinedError
        body = buffer[start:whole]
        if len(body) < _WORTH_COPYING or len(body) < length:
            body = memoryview(bytes(body))
        return Answer(status, headers, body), got == whole and headers.get(b"connection", b"").lower() != b"close"

    def _take_idle(self) -> _Connection | None:
        now = trio.current_time()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable(now):
                return connection
            connection.sock.close()
        return None

    async def _connect(self) -> _Connection:
        if trio.current_time() < self._resting_until:
            raise DeclinedError
        try:
            with trio.fail_after(self._connect_s):
                stream = await trio.open_tcp_stream(self._host, self._port)
                sock = socket.socket(fileno=stream.socket.detach())
                sock.setblocking(False)
                return _Connection(sock if self._context is None else await self._with_tls(sock, self._context))
        except (OSError, trio.TooSlowError):
            self._resting_until = trio.current_time() + REST_S
        raise DeclinedError

    async def _with_tls(self, plain: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        sock = context.wrap_socket(plain, server_hostname=self._host, do_handshake_on_connect=False)
        try:
            await trio.lowlevel.checkpoint()
            while not _shook_hands(sock):
                await trio.lowlevel.wait_readable(sock)  # the first flight of a client fits any socket's buffer
        except BaseException:
            sock.close()
            raise
        return sock


def _shook_hands(sock: ssl.SSLSocket) -> bool:
    try:
        sock.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


async def _send(sock: socket.socket, request: bytes) -> None:
    while request:
        try:
            request = request[sock.send(request) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            await trio.lowlevel.wait_writable(sock)
        except OSError as error:
            raise _UnansweredError from error


def _parsed(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Return status and headers.

    Raises:
        BrokenOffError: it is no answer of HTTP/1.1.
    """
    first, *lines = head.split(b"\r\n")
    if not first.startswith(b"HTTP/1.1 ") or not first[9:12].isdigit():
        raise BrokenOffError
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return int(first[9:12]), headers


def _body_length(headers: dict[bytes, bytes]) -> int:
    """Return the bytes of the body.

    Raises:
        DeclinedError: the framing is not the plain one.
    """
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or b"transfer-encoding" in headers:
        raise DeclinedError
    return int(length)
