"""Connections to one server, on sockets that do not block, kept for the next request.

- Only who got a whole answer gives a connection back; everybody else closes it.
- One that is idle may be *watched*: whoever waits on `Connections.epoll` hears when the server closes it, and when an
  answer comes, without telling the kernel anew for each request.
- After a connection that could not be made none is tried for `REST_S`: a store that is down is not asked twice.
"""

import select
import socket
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import trio

from mountd.stores.http_answer import DeclinedError

IDLE_S = 60.0
"""A connection that was idle for longer is not used again: services close theirs after two minutes or more."""
REST_S = 30.0


class Connection:
    """A connected socket that does not block, with TLS where the URL has it."""

    __slots__ = ("_poller", "idle_since", "number", "sock", "watched")

    def __init__(self, sock: socket.socket) -> None:
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self.sock = sock
        self.number = sock.fileno()
        self.idle_since = 0.0
        self.watched = False

    def close(self) -> None:
        """Close it, after which nobody watches it either."""
        self.sock.close()

    def is_silent(self) -> bool:
        """Whether the other side has neither closed it nor spoken."""
        return not self._poller.poll(0)


class Connections:
    """Those to one server.

    Args:
        url: scheme, host and port; the rest is ignored.
        connect_s: what making a connection may take, seconds.
    """

    def __init__(self, url: str, *, connect_s: float) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._connect_s = connect_s
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self.proxied = bool({parts.scheme, "all"} & getproxies().keys()) and not proxy_bypass(self._host)
        """There is a proxy between, of which nothing is known here."""
        self._idle: dict[int, Connection] = {}
        """By descriptor, the one given back last at the end."""
        self._resting_until = -float("inf")
        self._epoll: select.epoll | None = None

    @property
    def has_tls(self) -> bool:
        """Whether bytes are encrypted."""
        return self._context is not None

    @property
    def epoll(self) -> select.epoll:
        """What says that a watched connection has something to be received, or is closed."""
        if self._epoll is None:
            self._epoll = select.epoll()
        return self._epoll

    def take_idle(self) -> Connection | None:
        """Return a connection that can be used, watched by nobody; None: there is none."""
        while (connection := self._take(trio.current_time())) is not None:
            if connection.is_silent():
                if connection.watched:
                    self.epoll.unregister(connection.number)
                    connection.watched = False
                return connection
            connection.close()
        return None

    def take_watched(self, now: float) -> Connection | None:
        """Return a connection that can be used, watched; None: there is none."""
        while (connection := self._take(now)) is not None:
            if connection.is_silent():
                if not connection.watched:
                    self.epoll.register(connection.number, select.EPOLLIN)
                    connection.watched = True
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection, now: float) -> None:
        """Keep a connection for the next request, and none that was not needed for long."""
        while self._idle and now - (oldest := next(iter(self._idle.values()))).idle_since >= IDLE_S:
            del self._idle[oldest.number]
            oldest.close()
        connection.idle_since = now
        self._idle[connection.number] = connection

    def spoke(self, number: int) -> None:
        """An idle connection has something to be received: that it was closed, or what TLS sends by itself."""
        connection = self._idle.get(number)
        if connection is None:
            return
        if self._context is not None:
            try:
                connection.sock.recv(1)
            except ssl.SSLWantReadError:
                return  # a ticket for a later session
            except OSError:
                pass  # closed without a goodbye, or an alert
        del self._idle[number]
        connection.close()

    async def connect(self) -> Connection:
        """Make a connection.

        Raises:
            DeclinedError: it cannot be made, or could not a while ago.
            trio.TooSlowError: nobody answers; who asked in another way would wait for as long again.
        """
        if trio.current_time() < self._resting_until:
            raise DeclinedError
        try:
            with trio.fail_after(self._connect_s):
                stream = await trio.open_tcp_stream(self._host, self._port)
                sock = socket.socket(fileno=stream.socket.detach())
                sock.setblocking(False)
                return Connection(sock if self._context is None else await self._with_tls(sock, self._context))
        except trio.TooSlowError:
            self._resting_until = trio.current_time() + REST_S
            raise
        except OSError:
            self._resting_until = trio.current_time() + REST_S
        raise DeclinedError

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.popitem()[1].close()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def _take(self, now: float) -> Connection | None:
        while self._idle:
            connection = self._idle.popitem()[1]
            if now - connection.idle_since < IDLE_S:
                return connection
            connection.close()
        return None

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
