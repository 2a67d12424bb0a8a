"""Which version of a web file is there, and bytes of one version: never of two.

A file whose server names versions and sends parts is read in parts, each held to the version (by `If-Match` or
`If-Unmodified-Since`, and by a look at what came). From a server that sends only the whole file, one answer is kept
(`web_copies`) and read from. Where the server cannot tell versions apart, the file is fetched whole as soon as its
version is asked for, and its version is the checksum of its bytes: a copy that was dropped and is fetched again has to
have the same.

The version is asked for by a GET of the first byte, not by HEAD: many servers refuse HEAD (signed URLs do), or answer
it with another length; and an answer without parts may be kept. Blocking calls, for threads only.
"""

import contextlib
import threading
from typing import NamedTuple

from cachetools import LRUCache

from mountd.catalog.web_url import shown_url
from mountd.errors import ChangedError, MountdError, NonsenseError, UnavailableError, UsageError
from mountd.stores.azure_place import Timeouts
from mountd.stores.base import Chunk
from mountd.stores.web_client import WebAnswer, WebClient
from mountd.stores.web_copies import Copies
from mountd.stores.web_copy import Copy
from mountd.stores.web_decode import CAN_UNDO, DecodedBody
from mountd.stores.web_errors import from_status
from mountd.stores.web_version import Head, by_content, conditions, content_range, is_by_content
from mountd.units import GIB, ETag

MOST_TO_IDENTIFY = 1 * GIB
"""A longer file is not fetched whole only to tell its version."""
_REMEMBERED = 4096
_AT_ONCE = 64 << 10
"""The bytes of so small an answer are on their way already: taken now, they set its connection free."""
_NOTHING = memoryview(b"")


class WebVersion(NamedTuple):
    """A version of a file."""

    etag: ETag
    size: int
    """Bytes."""
    modified_s: int | None
    """Seconds since 1970, if the server knows."""


class _Seen(NamedTuple):
    head: Head
    version: WebVersion


class WebReads:
    """Reads of web files by URL."""

    def __init__(self, timeouts: Timeouts, copies: Copies) -> None:
        self._client = WebClient(timeouts)
        self._copies = copies
        self._lock = threading.Lock()
        self._identified: LRUCache[str, _Seen] = LRUCache(_REMEMBERED)
        """Files that had to be fetched whole to tell their version: not again while their server tells no change."""

    def look(self, url: str) -> WebVersion:
        """Return the version that is there now.

        Raises:
            NotFoundError: there is no such file.
            UsageError: it is too long to tell its version, or encoded in a way that nobody can undo.
            MountdError: the server refuses, fails or cannot be reached.
        """
        what = f"stat {shown_url(url)}"
        answer = self._client.get(what, url, {"Range": "bytes=0-0"}, fresh=True)
        try:
            if answer.status == 206:
                part = content_range(answer.headers)
                head = Head.of(answer.headers, _name(url))
                etag = head.version(part[2]) if part is not None and not head.encoding else None
                if part is not None and etag is not None:
                    return WebVersion(etag, part[2], head.modified_s)
                seen = self._seen(url, head)
                if seen is not None:
                    return seen
            elif answer.status not in {200, 416}:
                raise self._refusal(what, answer)
            if answer.status != 200:  # parts of nobody knows which version, or no byte at all
                answer.close()
                answer = self._whole(what, url)
            return self._look_at_whole(what, url, answer)
        finally:
            answer.close()

    def read(self, url: str, start: int, length: int, if_match: ETag | None) -> Chunk:
        """Return the bytes [start, start + length), cut at the end.

        Raises:
            ChangedError: another version than `if_match` is there.
            MountdError: as `look`.
        """
        what = f"read {shown_url(url)}"
        if if_match is None:
            if_match = self.look(url).etag
        chunk = self._from_copy(url, start, length, if_match)
        if chunk is not None:
            return chunk
        if is_by_content(if_match):
            return self._of_checksum(what, url, start, length, if_match)
        if length > 0:
            wanted = {"Range": f"bytes={start}-{start + length - 1}", **conditions(if_match)}
            answer = self._client.get(what, url, wanted)
            try:
                if answer.status == 206:
                    return self._part(what, url, answer, start, length, if_match)
                if answer.status == 200:
                    return self._of_whole(what, url, answer, start, length, if_match)
                if answer.status != 416:
                    raise self._refusal(what, answer)
            finally:
                answer.close()
        found = self.look(url)
        if found.etag != if_match:
            raise _changed(what)
        if length <= 0 or start >= found.size:
            return Chunk(_NOTHING, found.etag, found.size)
        raise UnavailableError(f"{what}: its server has the version and not its bytes; try again")

    def close(self) -> None:
        """Drop copies and close connections."""
        self._copies.close()
        self._client.close()

    # ---- parts

    def _part(self, what: str, url: str, answer: WebAnswer, start: int, length: int, if_match: ETag) -> Chunk:
        part = content_range(answer.headers)
        if part is None:
            raise NonsenseError(f"{what}: the answer does not say which bytes it holds")
        first, stop, size = part
        head = Head.of(answer.headers, _name(url))
        if head.encoding or not head.fits(if_match, size):
            raise _changed(what)
        expected = min(length, size - start)
        if first != start or stop - first != expected or answer.length not in {None, expected}:
            raise NonsenseError(f"{what}: bytes {first} to {stop} came, not the {expected} from {start}")
        buffer = memoryview(bytearray(expected))
        answer.read_into(buffer)
        return Chunk(buffer, if_match, size)

    # ---- whole files

    def _whole(self, what: str, url: str) -> WebAnswer:
        answer = self._client.get(what, url, {}, fresh=True)
        if answer.status == 200:
            return answer
        failure = self._refusal(what, answer)
        answer.close()
        raise failure

    def _from_copy(self, url: str, start: int, length: int, version: ETag) -> Chunk | None:
        with self._copies.using(url, version) as copy:
            if copy is None:
                return None
            data = copy.read(start, length)
            assert copy.size is not None
            return Chunk(data, version, copy.size)

    def _begin(self, what: str, answer: WebAnswer, head: Head, most: int | None = None) -> Copy:
        if head.encoding and head.encoding not in CAN_UNDO:
            raise UsageError(
                f"{what}: its server encodes it as {head.encoding[:40]!r}, unasked, which mountd cannot undo"
            )
        if head.encoding:
            body = DecodedBody(what, answer.take_body(), head.encoding)
            return self._copies.begin(what, body, size=None, most=most)
        return self._copies.begin(what, answer.take_body(), size=answer.length, most=most)

    def _seen(self, url: str, head: Head) -> WebVersion | None:
        with self._lock:
            seen = self._identified.get(url)
        return seen.version if seen is not None and seen.head.is_unchanged(head) else None

    def _look_at_whole(self, what: str, url: str, answer: WebAnswer) -> WebVersion:
        """Return the version that `answer`, to a request for the whole file, holds; its body is used for a copy."""
        head = Head.of(answer.headers, _name(url))
        size = answer.length if not head.encoding else None
        etag = head.version(size)
        with self._copies.claim(what, url):
            seen = self._seen(url, head)
            if seen is not None:
                return seen
            if etag is None and size is not None and size > MOST_TO_IDENTIFY:
                raise UsageError(
                    f"{what}: its server does not say which version it is (no ETag, or a weak one, and no date that "
                    f"could do), and it is longer than {MOST_TO_IDENTIFY // GIB} GiB: parts of it might not belong "
                    "together; copy it to where they do"
                )
            copy = self._begin(what, answer, head, MOST_TO_IDENTIFY if etag is None else None)
            try:
                if etag is None or size is None or size <= _AT_ONCE:
                    digest = copy.digest()
                    size = copy.size
                    assert size is not None
                    etag = etag or head.version(size) or by_content(digest)
                version = WebVersion(etag, size, head.modified_s)
            except BaseException:
                copy.close()
                raise
            self._copies.keep(url, etag, copy)
            with self._lock:
                self._identified[url] = _Seen(head, version)
            return version

    def _of_whole(self, what: str, url: str, answer: WebAnswer, start: int, length: int, if_match: ETag) -> Chunk:
        """Return bytes of `if_match` from `answer`, which holds a whole file although a part was asked for."""
        with self._copies.claim(what, url):
            if self._copies.size_of(url, if_match) is None:
                head = Head.of(answer.headers, _name(url))
                copy = self._begin(what, answer, head)
                try:
                    if copy.size is None:
                        copy.digest()
                    if not head.fits(if_match, copy.size):
                        raise _changed(what)
                except BaseException:
                    copy.close()
                    raise
                self._copies.keep(url, if_match, copy)
        return self._just_copied(what, url, start, length, if_match)

    def _of_checksum(self, what: str, url: str, start: int, length: int, if_match: ETag) -> Chunk:
        """Return bytes of the file whose checksum is `if_match`, which has to be fetched again."""
        with self._copies.claim(what, url):
            if self._copies.size_of(url, if_match) is None:
                answer = self._whole(what, url)
                with contextlib.closing(answer):
                    head = Head.of(answer.headers, _name(url))
                    copy = self._begin(what, answer, head, MOST_TO_IDENTIFY)
                try:
                    etag = by_content(copy.digest())
                except BaseException:
                    copy.close()
                    raise
                assert copy.size is not None
                self._copies.keep(url, etag, copy)
                with self._lock:
                    self._identified[url] = _Seen(head, WebVersion(etag, copy.size, head.modified_s))
                if etag != if_match:
                    raise _changed(what)
        return self._just_copied(what, url, start, length, if_match)

    def _just_copied(self, what: str, url: str, start: int, length: int, version: ETag) -> Chunk:
        chunk = self._from_copy(url, start, length, version)
        if chunk is None:
            raise UnavailableError(f"{what}: its copy was dropped for others; try again")
        return chunk

    def _refusal(self, what: str, answer: WebAnswer) -> MountdError:
        return from_status(what, answer.host, answer.status, answer.headers)


def _changed(what: str) -> ChangedError:
    return ChangedError(f"{what}: the file was replaced since it was listed")


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
