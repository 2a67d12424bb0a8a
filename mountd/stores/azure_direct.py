"""Ranges, HEADs and listings of a Blob container, fetched by the loop itself.

See `loop_http` for why, and for what it declines. Keys of blobs must be plain (`azure_place.is_plain`). Requests are
signed as the service's documentation has it ("Authorize with Shared Key", version 2015-02-21 and later).
"""

import base64
import hmac
import re
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from importlib.metadata import version
from urllib.parse import quote, urlsplit

import trio

from mountd.catalog.model import AccountKey, BlobSpec, Sas
from mountd.errors import CorruptError, IsDirectoryError, MountdError, NonsenseError, UnavailableError
from mountd.stores.azure_errors import from_answer, retry_after_s
from mountd.stores.azure_listing import http_date_ns, marks_folder
from mountd.stores.azure_place import API_VERSION, Place, Timeouts, quoted
from mountd.stores.base import Chunk, Missed, ObjectInfo, ReadDone
from mountd.stores.http_answer import Answer, BrokenOffError, DeclinedError, Framing
from mountd.stores.http_connections import Connections
from mountd.stores.loop_http import LoopHttp
from mountd.stores.quick_http import QuickHttp
from mountd.units import KIB, MIB, ETag

_CONTENT_RANGE = re.compile(rb"bytes (\d+)--?\d+/(\d+)")
"""Azurite, asked for one byte at the very end, answers 206 with a range that is none: `bytes 0--1/0`."""

SHORT_PAGE = 16 * KIB
"""Room for a page of one entry: names have 1,024 characters, and each may be escaped."""
PAGE = 8 * MIB
"""Room for any other: 5,000 entries take 3 MB, and metadata or very long names more."""
MOST_PAGES = 8
"""So many of those are fetched here at a time, in the memory that nobody accounts for."""
TROUBLED = frozenset({429, 500, 503})
"""The service asks for patience."""


class AzureDirect:
    """Blobs of one container."""

    def __init__(self, spec: BlobSpec, timeouts: Timeouts) -> None:
        self._place = Place.of(spec)
        self._connections = Connections(spec.account_url, connect_s=timeouts.connect_s)
        self._http = LoopHttp(self._connections, stall_s=timeouts.stall_s, total_s=timeouts.total_s)
        self._quick = QuickHttp(self._connections, stall_s=timeouts.stall_s, total_s=timeouts.total_s)
        self._base_path = urlsplit(self._place.url(None)).path
        self._signer: hmac.HMAC | None = None
        """Begun with the key: beginning is half of what a signature costs."""
        if isinstance(spec.credential, AccountKey):
            self._signer = hmac.new(base64.b64decode(spec.credential.key), digestmod="sha256")
        self._query = f"?{spec.credential.token}" if isinstance(spec.credential, Sas) else ""
        self._constant = (
            f"Host: {self._place.host}\r\nUser-Agent: mountd/{version('mountd')}\r\nx-ms-version: {API_VERSION}\r\n"
        )
        self._date = (-1, "")
        self._pages = 0
        """Those that are being fetched."""

    async def get(self, what: str, key: str, start: int, length: int, if_match: ETag | None) -> Chunk | None:
        """Return the bytes [start, start + length) of `key`, cut at its end, or None if not one of them exists.

        Raises:
            DeclinedError: ask in the ordinary way.
            MountdError: what the service or the connection answered.
        """
        if length > self._http.largest or (if_match is not None and not if_match.isprintable()):
            raise DeclinedError
        request = self._request("GET", key, asked=f"bytes={start}-{start + length - 1}", if_match=if_match)
        answer = await self._exchange(what, request, length)
        if answer.status == 416:
            return None
        if answer.status == 206:
            return self._chunk(what, answer, start, length)
        raise self._refusal(what, answer)

    async def head(self, what: str, key: str) -> ObjectInfo:
        """Return the current version of `key`.

        Raises:
            DeclinedError: ask in the ordinary way.
            IsDirectoryError: it is a directory marker.
            MountdError: what the service or the connection answered.
        """
        answer = await self._exchange(what, self._request("HEAD", key), 0, Framing.NO_BODY)
        if answer.status != 200:
            raise self._refusal(what, answer)
        said = {name: value.decode("latin-1") for name, value in answer.headers.items()}
        info: ObjectInfo | None = None
        try:
            size, modified, etag = said[b"content-length"], said[b"last-modified"], said[b"etag"]
            if size.isdigit():  # `int` takes signs and underscores too
                info = ObjectInfo(key, int(size), http_date_ns(modified), quoted(etag))
        except (KeyError, ValueError):
            pass
        if info is None:
            raise NonsenseError(f"{what}: the answer does not name a version")
        if info.size == 0 and marks_folder("hdi_isfolder", said.get(b"x-ms-meta-hdi_isfolder")):
            raise IsDirectoryError(f"{what}: a directory, not a blob")
        return info

    async def page(self, what: str, query: Mapping[str, str]) -> bytes:
        """Return a page of a listing.

        Raises:
            DeclinedError: ask in the ordinary way.
            MountdError: what the service or the connection answered.
        """
        if self._pages >= MOST_PAGES:
            raise DeclinedError
        self._pages += 1
        try:
            return await self._page(what, query, PAGE)
        finally:
            self._pages -= 1

    async def short_page(self, what: str, query: Mapping[str, str]) -> bytes:
        """Return a page of a listing that is expected to be short; errors as of `page`."""
        return await self._page(what, query, SHORT_PAGE)

    async def _page(self, what: str, query: Mapping[str, str], room: int) -> bytes:
        answer = await self._exchange(what, self._request("GET", None, query=query), room, Framing.ANY)
        if answer.status != 200:
            raise self._refusal(what, answer)
        if not answer.body:
            raise DeclinedError
        return bytes(answer.body)

    async def _exchange(self, what: str, request: bytes, length: int, framing: Framing = Framing.LENGTH) -> Answer:
        """Return the answer to `request`, whatever its status."""
        try:
            return await self._http.exchange(request, length, framing)
        except trio.TooSlowError:
            failure: MountdError = UnavailableError(
                f"{what}: cannot reach {self._place.host}: it does not answer in time"
            )
        except BrokenOffError:
            failure = CorruptError(f"{what}: the answer broke off")
        except OSError:
            failure = UnavailableError(f"{what}: the connection to {self._place.host} failed")
        raise failure

    def begin(self, key: str, start: int, length: int, if_match: ETag | None, done: ReadDone) -> bool:
        """Start to `get`; False: not now. Where it brings nothing, `get` says why."""

        def came(answer: Answer | None, got_on_at: float) -> None:
            chunk: Chunk | None = None
            failure: MountdError | None = None
            if answer is not None and answer.status == 206:
                try:
                    chunk = self._chunk(key, answer, start, length)
                except MountdError:
                    chunk = None
            elif answer is not None and answer.status in TROUBLED:
                failure = self._refusal(self._place.what("read", key), answer)
            done(chunk or Missed(got_on_at, failure))

        if if_match is not None and not if_match.isprintable():
            return False
        request = self._request("GET", key, asked=f"bytes={start}-{start + length - 1}", if_match=if_match)
        return self._quick.begin(request, length, came)

    async def serve(self, moved: Callable[[], None]) -> None:
        """Call back those who began, until cancelled; `moved` is told of what takes long and gets on."""
        await self._quick.serve(moved)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    @staticmethod
    def _chunk(what: str, answer: Answer, start: int, length: int) -> Chunk | None:
        said = _CONTENT_RANGE.fullmatch(answer.headers.get(b"content-range", b""))
        etag = answer.headers.get(b"etag", b"").decode("latin-1")
        if said is None or not etag:
            raise NonsenseError(f"{what}: the answer does not say which bytes of which version it holds")
        first, size = int(said[1]), int(said[2])
        expected = min(length, size - start)
        if expected <= 0:
            return None
        if first != start or len(answer.body) != expected:
            raise CorruptError(f"{what}: {len(answer.body)} bytes from {first} came, not the {expected} from {start}")
        return Chunk(answer.body, quoted(etag), size)

    def _refusal(self, what: str, answer: Answer) -> MountdError:
        if answer.status in TROUBLED:
            self._quick.rest()

        def said(name: bytes) -> str | None:
            return answer.headers.get(name, b"").decode("latin-1") or None

        wait = retry_after_s(said(b"retry-after"), said(b"x-ms-retry-after-ms"))
        code = said(b"x-ms-error-code")
        return from_answer(what, self._place, answer.status, code, retry_after_s=wait)

    def _request(
        self,
        verb: str,
        key: str | None,
        *,
        asked: str | None = None,
        if_match: ETag | None = None,
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the head of a request about the container (`key` None) or a blob."""
        resource = path = self._base_path if key is None else f"{self._base_path}/{self._place.escaped(key)}"
        target = f"{path}{self._query}"
        if query is not None:
            words = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
            target = f"{target}&{words}" if self._query else f"{path}?{words}"
            resource += "".join(f"\n{name}:{value}" for name, value in sorted(query.items()))
        head = f"{verb} {target} HTTP/1.1\r\n{self._constant}"
        if asked is not None:
            head += f"x-ms-range: {asked}\r\n"
        if if_match is not None:
            head += f"If-Match: {if_match}\r\n"
        if self._signer is not None:
            date = self._now()
            ranged = "" if asked is None else f"x-ms-range:{asked}\n"
            signed = (
                f"{verb}\n\n\n\n\n\n\n\n{if_match or ''}\n\n\n\n"
                f"x-ms-date:{date}\n{ranged}x-ms-version:{API_VERSION}\n/{self._place.account}{resource}"
            )
            signer = self._signer.copy()
            signer.update(signed.encode())
            signature = base64.b64encode(signer.digest()).decode()
            head += f"x-ms-date: {date}\r\nAuthorization: SharedKey {self._place.account}:{signature}\r\n"
        return f"{head}\r\n".encode()

    def _now(self) -> str:
        second = int(time.time())
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]
