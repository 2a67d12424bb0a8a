"""One GET of a web file: along redirects, to the head of the answer and a body to read.

Rules:

- A password in a URL goes to that URL's own server and to no other. A redirect from `https` to `http` is refused, and
  so is one to anything but HTTP.
- Where a redirect led is remembered for a minute, for reads: the ranges of one file need not ask twice each.
- A kept connection that turns out dead before a byte of an answer came is replaced once; nothing else is tried again.
- No exception of the HTTP library gets out: its text may hold a URL, and that a token.

Blocking calls, for threads only.
"""

import contextlib
import http.client
import threading
import time
from email.message import Message
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from cachetools import TTLCache

from mountd.aio.progress import current
from mountd.catalog.web_url import shown_url
from mountd.errors import CorruptError, DeniedError, NonsenseError, UsageError
from mountd.stores.azure_place import Timeouts
from mountd.stores.web_connections import Connection, Connections, Origin, basic_login
from mountd.stores.web_errors import from_failure

MOST_REDIRECTS = 10
REMEMBER_REDIRECT_S = 60.0
_MOST_REMEMBERED = 4096
_REDIRECTS = {301, 302, 303, 307, 308}
_MOVED_ON = {400, 401, 403, 404, 405, 410}
"""Answers of where a redirect led a minute ago that say nothing about the file: a signed URL has run out, say."""
_WORTH_READING = 64 << 10
"""A rest of at most so many bytes is read for the connection's sake; a longer one costs more than a new one."""
_WORTH_WAITING_S = 0.5
"""For such a rest."""
_USER_AGENT = f"mountd/{version('mountd')}"
_FAILURES = (OSError, http.client.HTTPException, ValueError, UnicodeError)


class Target(NamedTuple):
    """Where one request goes."""

    url: str
    """Without user and password."""
    login: str | None
    """The `Authorization` header, if there was a user in front of the host."""

    @classmethod
    def of(cls, url: str) -> "Target":
        """Take the login out of `url`."""
        parts = urlsplit(url)
        login = basic_login(parts.username, parts.password)
        return cls(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), login)


class WebAnswer:
    """The head of an answer, and its body, to be read once, by one thread at a time. Must be closed."""

    def __init__(
        self,
        what: str,
        connection: Connection,
        response: http.client.HTTPResponse,
        connections: Connections,
        stall_s: float,
    ) -> None:
        self._what = what
        self._connection = connection
        self._response = response
        self._connections = connections
        self._stall_s = stall_s
        self._mine = True
        self.status = response.status
        self.headers = response.headers
        """Names are case-insensitive."""
        self.length = response.length
        """How many bytes the body has, if the answer says so."""

    @property
    def host(self) -> str:
        """Who answered."""
        return self._connection.origin.host_header

    def read_into(self, view: memoryview) -> None:
        """Fill `view` with the next bytes of the body, as long as the request makes progress.

        Raises:
            CorruptError: there are fewer.
            MountdError: the connection failed.
        """
        filled = 0
        while filled < view.nbytes:
            got = self._read_some_into(view[filled:])
            if not got:
                raise CorruptError(f"{self._what}: the answer broke off after {filled} of {view.nbytes} bytes")
            filled += got

    def take_body(self) -> "WebBody":
        """Return the body; it has to be closed instead of the answer, and has no time limit but that of a stall."""
        self._mine = False
        return WebBody(self)

    def close(self) -> None:
        """Give the connection back if the body was read or is not worth reading, else close it."""
        if self._mine:
            self._mine = False
            self._finish()

    def _finish(self) -> None:
        rest = self._response.length
        self._connection.until = time.monotonic() + _WORTH_WAITING_S
        with contextlib.suppress(*_FAILURES):
            if self._response.isclosed() or (rest is not None and rest <= _WORTH_READING):
                self._response.read()
                # http.client has closed it already if either side said that this answer is the last
                if self._connection.sock is not None:
                    self._connections.give_back(self._connection)
                    return
        self._response.close()
        self._connection.close()

    def _read_some_into(self, view: memoryview) -> int:
        response = self._response
        if response.chunked or response.length is None or response.fp is None:
            piece = self._read_some(view.nbytes)
            view[: len(piece)] = piece
            return len(piece)
        # What `readinto` does, but one wait at a time: the whole of a large part would be one, of any length.
        try:
            got = response.fp.readinto1(view[: response.length])
        except _FAILURES as error:
            failure = from_failure(self._what, self.host, error)
        else:
            response.length -= got
            return got
        raise failure

    def _read_patiently(self, most: int) -> bytes:
        self._connection.progress = current()  # whoever reads it now
        self._connection.until = time.monotonic() + self._stall_s
        return self._read_some(most)

    def _read_some(self, most: int) -> bytes:
        try:
            piece = self._response.read1(most)
        except _FAILURES as error:
            failure = from_failure(self._what, self.host, error)
        else:
            if piece or not self._response.length:
                return piece
            failure = CorruptError(f"{self._what}: the answer broke off, {self._response.length} bytes are missing")
        raise failure


class WebBody:
    """The body of an answer, for whoever reads it later."""

    def __init__(self, answer: WebAnswer) -> None:
        self._answer = answer

    def read_some(self, most: int) -> bytes:
        """Return the next bytes, 1 to `most`, or nothing at the end.

        Raises:
            MountdError: the connection failed, broke off, or stalled.
        """
        return self._answer._read_patiently(most)  # noqa: SLF001 - one idea in two classes

    def close(self) -> None:
        """Give the connection back, or close it."""
        self._answer._finish()  # noqa: SLF001 - one idea in two classes


class WebClient:
    """GETs of web files, for any number of threads."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._connections = Connections(timeouts)
        self._lock = threading.Lock()
        self._led_to: TTLCache[str, str] = TTLCache(_MOST_REMEMBERED, REMEMBER_REDIRECT_S)

    def get(self, what: str, url: str, headers: dict[str, str], *, fresh: bool = False) -> WebAnswer:
        """Return the answer to a GET of `url`, whatever its status, redirects followed.

        Args:
            what: names the request in errors, without secrets.
            url: may hold user and password.
            headers: more headers, such as `Range`.
            fresh: ask the first server, also if it is known where it would send us.

        Raises:
            UnavailableError: no answer came.
            UsageError: the redirects end nowhere.
            DeniedError: a redirect would give up what `https` promises.
        """
        with self._lock:
            known = None if fresh else self._led_to.get(url)
        if known is not None:
            answer = self._once(what, Target(known, None), headers)
            if answer.status not in _REDIRECTS | _MOVED_ON:
                return answer
            answer.close()
        first = Target.of(url)
        target = first
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._once(what, target, headers)
            if answer.status not in _REDIRECTS:
                with self._lock:
                    if target is not first and target.login is None:
                        self._led_to[url] = target.url
                    else:
                        self._led_to.pop(url, None)
                return answer
            location = answer.headers.get("Location")
            answer.close()
            target = self._redirected(what, first, target, location)
        raise UsageError(f"{what}: its server sends from one URL to the next without end; give the URL of the file")

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._connections.close()

    def _redirected(self, what: str, first: Target, here: Target, location: str | None) -> Target:
        if not location:
            raise NonsenseError(f"{what}: {_host(here.url)} redirects and does not say where to")
        try:
            found = urlsplit(urljoin(here.url, quote(location, safe="/%:@!$&'()*+,;=~-._?#[]")))
            there = urlunsplit(found._replace(netloc=found.netloc.rpartition("@")[2], fragment=""))
            origin = Origin.of(there)
        except ValueError:
            origin, there = Origin("", "", 0), ""
        if origin.scheme not in {"http", "https"} or not origin.host:
            raise UsageError(f"{what}: {_host(here.url)} redirects to what is no web server; give the URL of the file")
        if here.url.startswith("https://") and origin.scheme == "http":
            raise DeniedError(
                f"{what}: {_host(here.url)} redirects from https to {shown_url(there)}, which anybody on the way could "
                "change; if that is good enough, give that URL yourself"
            )
        return Target(there, first.login if origin == Origin.of(first.url) else None)

    def _once(self, what: str, target: Target, headers: dict[str, str]) -> WebAnswer:
        origin = Origin.of(target.url)
        answer = self._exchange(what, self._connections.take(origin), target, headers)
        # None: the server gave up a kept connection just now.
        while answer is None:
            answer = self._exchange(what, self._connections.new(origin), target, headers)
        return answer

    def _exchange(self, what: str, connection: Connection, target: Target, headers: dict[str, str]) -> WebAnswer | None:
        """Return the answer to one request, None if `connection` was used before and is dead.

        Raises:
            MountdError: no answer came.
        """
        connection.progress = current()
        connection.until = None
        try:
            self._send(connection, target, headers)
            response = connection.getresponse()
            if connection.ended:
                response.close()
                raise ConnectionError
            if not _has_one_length(response.headers):
                response.close()
                raise http.client.HTTPException
        except _FAILURES as error:
            connection.close()
            if connection.used and isinstance(error, ConnectionError | http.client.BadStatusLine):
                return None
            failure = from_failure(what, connection.origin.host_header, error)
        else:
            connection.used = True
            return WebAnswer(what, connection, response, self._connections, self._timeouts.stall_s)
        raise failure

    def _send(self, connection: Connection, target: Target, headers: dict[str, str]) -> None:
        parts = urlsplit(target.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if connection.absolute:
            path = f"{parts.scheme}://{connection.origin.host_header}{path}"
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", connection.origin.host_header)
        connection.putheader("User-Agent", _USER_AGENT)
        connection.putheader("Accept", "*/*")
        connection.putheader("Accept-Encoding", "identity")  # ranges of what is stored, not of a compressed form of it
        if target.login is not None:
            connection.putheader("Authorization", target.login)
        for name, value in {**connection.proxy_headers, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()


def _host(url: str) -> str:
    return Origin.of(url).host_header


def _has_one_length(headers: Message) -> bool:
    """Tell whether an answer says nothing of its length, or one thing: http.client would take the first of many."""
    said = {value.strip() for line in headers.get_all("Content-Length", []) for value in line.split(",")}
    return not said or (len(said) == 1 and min(said).isascii() and min(said).isdigit())
