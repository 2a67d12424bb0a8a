"""HTTP/1.1 connections to web servers: kept, found dead in time, verified, and never waited for too long.

Built on the standard library's `http.client`: a ranged GET of a small file costs it 0.11 ms of CPU, urllib3 0.24 ms and
httpx2 0.54 ms (measured against nginx on loopback); obstore (0.15 ms) can neither send a query nor leave a redirect
alone. Blocking calls, for threads only. Nothing here retries, follows redirects or reads a status: `web_client` does.
Certificates are verified against the system's authorities, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`;
`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are respected.
"""

import base64
import http.client
import io
import select
import socket
import ssl
import threading
import time
import urllib.request
from collections import defaultdict, deque
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from mountd.aio.progress import current
from mountd.catalog.naming import is_loopback
from mountd.errors import UsageError
from mountd.stores.azure_place import Timeouts

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

IDLE_S = 30.0
"""A connection that was idle for longer is not used again: many servers close theirs after a minute."""
MOST_IDLE = 64
"""Connections to one server that are kept open."""


class Origin(NamedTuple):
    """A server: what a password is for, and no other."""

    scheme: str
    host: str
    """Without the brackets of an IPv6 address."""
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """Return the server of `url`.

        Raises:
            ValueError: the port is no number.
        """
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        return cls(scheme, parts.hostname or "", parts.port or (443 if scheme == "https" else 80))

    @property
    def host_header(self) -> str:
        """The value of `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


class Connections:
    """Connections to any number of servers, used by one request at a time each."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._lock = threading.Lock()
        self._idle: defaultdict[Origin, deque[Connection]] = defaultdict(deque)
        self._proxies = urllib.request.getproxies_environment()
        self._tls: ssl.SSLContext | None = None
        self._open = True

    def take(self, origin: Origin) -> "Connection":
        """Return a connection that nobody else uses; one that is new has sent nothing yet.

        Raises:
            UsageError: the environment names a proxy that is none of HTTP's.
        """
        with self._lock:
            idle = self._idle[origin]
            while idle:
                connection = idle.pop()
                if connection.is_alive():
                    return connection
                connection.close()
        return self.new(origin)

    def new(self, origin: Origin) -> "Connection":
        """Return a connection that was never used."""
        tls = self._context() if origin.scheme == "https" else None
        return Connection(origin, self._proxy(origin), tls, self._timeouts)

    def give_back(self, connection: "Connection") -> None:
        """Keep `connection`, whose last answer was read to its end."""
        connection.idle_since = time.monotonic()
        with self._lock:
            idle = self._idle[connection.origin]
            if self._open and len(idle) < MOST_IDLE:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle, and keep nothing from now on."""
        with self._lock:
            self._open = False
            idle = [connection for waiting in self._idle.values() for connection in waiting]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = ssl.create_default_context()
            return self._tls

    def _proxy(self, origin: Origin) -> "Proxy | None":
        text = self._proxies.get(origin.scheme) or self._proxies.get("all")
        if not text or is_loopback(origin.host_header):
            return None
        if urllib.request.proxy_bypass(f"{origin.host}:{origin.port}"):
            return None
        return Proxy.of(text)


class Proxy(NamedTuple):
    """An HTTP proxy."""

    host: str
    port: int
    headers: dict[str, str]
    """`Proxy-Authorization`, if the environment gives a user."""

    @classmethod
    def of(cls, text: str) -> "Proxy":
        """Return the proxy that a variable such as `HTTPS_PROXY` names.

        Raises:
            UsageError: it is none of HTTP's.
        """
        parts = urlsplit(text if "://" in text else f"http://{text}")
        try:
            port = parts.port or 3128
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or not port:
            raise UsageError("the proxy that the environment names is not http://HOST:PORT; mend it or set NO_PROXY")
        login = basic_login(parts.username, parts.password)
        return cls(parts.hostname, port, {"Proxy-Authorization": login} if login else {})


def basic_login(user: str | None, password: str | None) -> str | None:
    """Return the value of an `Authorization` header for what stands before the `@` of a URL, percent-encoded."""
    if user is None:
        return None
    text = f"{unquote(user)}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(text.encode()).decode()


class Connection(http.client.HTTPConnection):
    """One connection, whose every wait ends: by the stall time, and with the progress of the request that it is for."""

    def __init__(self, origin: Origin, proxy: Proxy | None, tls: ssl.SSLContext | None, timeouts: Timeouts) -> None:
        where = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        super().__init__(*where, timeout=timeouts.connect_s)
        self.origin = origin
        self.progress = current()
        """Of the request that it is used for; set for each."""
        self.until: float | None = None
        """A bound in place of the progress, by the monotonic clock."""
        self.idle_since = 0.0
        self.used = False
        """An answer came through it before."""
        self.ended = False
        """The server sends no more; `http.client` takes a head that ends there for a whole one."""
        self._stall_s = timeouts.stall_s
        self._total_s = timeouts.total_s
        self._tls = tls
        self.proxy_headers: dict[str, str] = {}
        """What each request needs for the proxy's sake."""
        self.absolute = False
        """Requests name the whole URL: a proxy passes them on."""
        if proxy is not None and tls is not None:
            self.set_tunnel(origin.host, origin.port, proxy.headers)
        elif proxy is not None:
            self.proxy_headers = proxy.headers
            self.absolute = True

    def connect(self) -> None:
        """Connect, and speak TLS where the URL is `https`."""
        super().connect()
        plain = self.sock
        plain.settimeout(self._stall_s)
        if self._tls is not None:
            plain = self._tls.wrap_socket(plain, server_hostname=self.origin.host)
        self.sock = _BoundedSocket(plain, self)

    def is_alive(self) -> bool:
        """Whether the server keeps the connection as well: nothing must have come since the last answer."""
        if self.sock is None or time.monotonic() - self.idle_since > IDLE_S:
            return False
        try:
            poll = select.poll()
            poll.register(self.sock.fileno(), select.POLLIN)
            return not poll.poll(0)
        except (OSError, ValueError):
            return False

    def seconds_left(self) -> float:
        """Return how long the next wait may take.

        Raises:
            TimeoutError: the exchange is over its time.
        """
        left = self.progress.left_s(self._total_s) if self.until is None else self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, self._stall_s)


class _BoundedSocket:
    """A socket as far as `http.client` uses one, with a limit on every wait."""

    def __init__(self, inner: socket.socket, connection: Connection) -> None:
        self._inner = inner
        self._connection = connection

    def sendall(self, data: "ReadableBuffer") -> None:
        self._inner.settimeout(self._connection.seconds_left())
        self._inner.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode  # "rb", the only one that http.client asks for
        # Through the socket's own file: it keeps the socket open until the answer is read, also when this is closed.
        raw = self._inner.makefile("rb", buffering=0)
        return io.BufferedReader(_BoundedReader(raw, self._inner, self._connection), 16 << 10)

    def fileno(self) -> int:
        return self._inner.fileno()

    def close(self) -> None:
        self._inner.close()


class _BoundedReader(io.RawIOBase):
    def __init__(self, raw: socket.SocketIO, inner: socket.socket, connection: Connection) -> None:
        self._raw = raw
        self._inner = inner
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        self._inner.settimeout(self._connection.seconds_left())
        got = self._raw.readinto(buffer)
        self._connection.progress.moved(got or 0)
        self._connection.ended = got == 0
        return got

    def close(self) -> None:
        super().close()
        self._raw.close()
