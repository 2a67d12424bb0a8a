"""Answers of HTTP/1.1 in a buffer that they were received into, and what can be wrong with them.

Bodies are framed by `Content-Length`; chunks (RFC 9112, 7.1) are known too, for small ones, to who says so. Whoever
meets another framing is to ask in another way.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from mountd.units import KIB

HEAD_ROOM = 2 * KIB
"""For status line and headers before a body; storage services send less than 1,000 bytes."""
LONG_HEAD_ROOM = 16 * KIB
"""The same without a body: the answer to a HEAD holds the metadata, up to 8 KiB."""
LAST_CHUNK = b"\r\n\r\n"
"""Chunks end with it; what they hold may have it as well."""
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_WORTH_COPYING = 16 * HEAD_ROOM
"""A body shorter than this leaves its buffer, whose head would be an unaccounted part of what is kept."""


class Framing(Enum):
    """What may follow the head of an answer."""

    LENGTH = auto()
    """A body of the length that the head says."""
    ANY = auto()
    """The same, or chunks."""
    NO_BODY = auto()
    """Nothing, whatever the head says: the request was a HEAD (RFC 9112, 6.3)."""

    @property
    def head_room(self) -> int:
        """Bytes that a head may have."""
        return LONG_HEAD_ROOM if self is Framing.NO_BODY else HEAD_ROOM


class Fields:
    """The fields of a head, each looked for when it is asked for: of fifteen that come with a blob, four are.

    Names are in lower case. Of a repeated one the last counts.
    """

    __slots__ = ("_lower", "_text")

    def __init__(self, text: bytes) -> None:
        """`text`: the head from its first line on, without the empty line at its end."""
        self._text = text
        self._lower = text.lower()

    def get(self, name: bytes, default: bytes = b"") -> bytes:
        """Return the value of `name`, or `default` if there is no such field."""
        at = self._lower.rfind(b"\r\n" + name + b":")
        if at < 0:
            return default
        at += len(name) + 3
        end = self._text.find(b"\r\n", at)
        return (self._text[at:end] if end >= 0 else self._text[at:]).strip()

    def lines(self, name: bytes) -> int:
        """Return how many lines begin with `name`, whatever follows it."""
        return self._lower.count(b"\r\n" + name)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield names and values of all of them."""
        for line in self._text.split(b"\r\n")[1:]:
            name, colon, value = line.partition(b":")
            if colon:
                yield name.lower(), value.strip()


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: Fields
    body: memoryview


class Head(NamedTuple):
    """The head of an answer."""

    status: int
    headers: Fields
    length: int
    """Bytes of the head."""
    whole: int
    """Bytes of head and body; of the head alone where chunks follow."""
    has_chunks: bool = False

    @property
    def keeps_connection(self) -> bool:
        """Whether another request may follow."""
        return self.headers.get(b"connection").lower() != b"close"


class DeclinedError(Exception):
    """This is not for here: the caller is to ask in another way."""


class BrokenOffError(ConnectionError):
    """The connection ended in the middle of an answer."""


class UnansweredError(ConnectionError):
    """The connection ended before the first byte of an answer."""


def head_of(received: memoryview, framing: Framing = Framing.LENGTH) -> Head | None:
    """Return the head at the start of what was received, if it is whole.

    Raises:
        DeclinedError: it is longer than there is room for, the framing is another one than `framing`, another answer
            is to follow, or it is one of HTTP/1.0.
        BrokenOffError: it is no answer of HTTP.
    """
    room = framing.head_room
    head, separator, _ = bytes(received[:room]).partition(b"\r\n\r\n")
    if not separator:
        if len(received) >= room:
            raise DeclinedError
        return None
    status, headers = _parsed(head)
    if status < 200:
        raise DeclinedError
    length = len(head) + 4
    if framing is Framing.NO_BODY:
        return Head(status, headers, length, length)
    codings, lengths = headers.lines(b"transfer-encoding"), headers.lines(b"content-length")
    if codings:
        chunked = codings == 1 and headers.get(b"transfer-encoding").lower() == b"chunked"
        if chunked and framing is Framing.ANY and not lengths:
            return Head(status, headers, length, length, has_chunks=True)
        raise DeclinedError
    size = headers.get(b"content-length")
    if lengths != 1 or not size.isdigit():
        raise DeclinedError  # two of them, even of one value, are not for here to judge
    return Head(status, headers, length, length + int(size))


def answer_in(buffer: memoryview, head: Head, length: int) -> Answer:
    """Return the answer that `buffer` holds, when all of it is there; `length` bytes of body had been asked for."""
    body = buffer[head.length : head.whole]
    if len(body) < _WORTH_COPYING or len(body) < length:
        body = memoryview(bytes(body))
    return Answer(head.status, head.headers, body)


def joined(received: memoryview) -> tuple[bytes, int] | None:
    """Return the body that comes in chunks and how many bytes they took, if the last one is among what was received.

    Raises:
        BrokenOffError: these are no chunks.
    """
    text = bytes(received)
    pieces: list[bytes] = []
    at = 0
    while (end := text.find(b"\r\n", at)) >= 0:
        digits = text[at:end].partition(b";")[0].strip()
        if not _CHUNK_SIZE.fullmatch(digits):
            raise BrokenOffError
        start, size = end + 2, int(digits, 16)
        if size == 0:
            if text.startswith(b"\r\n", start):
                return b"".join(pieces), start + 2
            end = text.find(b"\r\n\r\n", start)  # fields of the head that only now are known
            return (b"".join(pieces), end + 4) if end >= 0 else None
        at = start + size + 2
        if len(text) < at:
            return None
        if text[at - 2 : at] != b"\r\n":
            raise BrokenOffError
        pieces.append(text[start : start + size])
    return None


def _parsed(head: bytes) -> tuple[int, Fields]:
    """Return status and fields.

    Raises:
        DeclinedError: it is one of HTTP/1.0.
        BrokenOffError: it is no answer of HTTP.
    """
    version, status = head[:9], head[9:12]
    if version == b"HTTP/1.0 ":
        raise DeclinedError
    if version != b"HTTP/1.1 " or not status.isdigit():
        raise BrokenOffError
    return int(status), Fields(head)
