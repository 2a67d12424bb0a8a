"""Answers of HTTP/1.1 in a buffer that they were received into, and what can be wrong with them.

Only the plain framing is known here, `Content-Length`; whoever meets another one is to ask in another way.
"""

from typing import NamedTuple

from mountd.units import KIB

HEAD_ROOM = 2 * KIB
"""For status line and headers; storage services send less than 1,000 bytes."""
_WORTH_COPYING = 16 * HEAD_ROOM
"""A body shorter than this leaves its buffer, whose head would be an unaccounted part of what is kept."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: dict[bytes, bytes]
    """Names in lower case; of repeated ones the last."""
    body: memoryview


class Head(NamedTuple):
    """The head of an answer."""

    status: int
    headers: dict[bytes, bytes]
    length: int
    """Bytes of the head."""
    whole: int
    """Bytes of head and body."""

    @property
    def keeps_connection(self) -> bool:
        """Whether another request may follow."""
        return self.headers.get(b"connection", b"").lower() != b"close"


class DeclinedError(Exception):
    """This is not for here: the caller is to ask in another way."""


class BrokenOffError(ConnectionError):
    """The connection ended in the middle of an answer."""


class UnansweredError(ConnectionError):
    """The connection ended before the first byte of an answer."""


def head_of(received: memoryview, *, bodiless: bool = False) -> Head | None:
    """Return the head at the start of what was received, if it is whole.

    Args:
        received: what came, from its first byte on.
        bodiless: no body follows, whatever the head says of one: the request was a HEAD (RFC 9112, 6.3).

    Raises:
        DeclinedError: it is longer than there is room for, or the framing is not the plain one.
        BrokenOffError: it is no answer of HTTP/1.1.
    """
    head, separator, _ = bytes(received[:HEAD_ROOM]).partition(b"\r\n\r\n")
    if not separator:
        if len(received) >= HEAD_ROOM:
            raise DeclinedError
        return None
    status, headers = _parsed(head)
    length = len(head) + 4
    return Head(status, headers, length, length + (0 if bodiless else _body_length(headers)))


def answer_in(buffer: memoryview, head: Head, length: int) -> Answer:
    """Return the answer that `buffer` holds, when all of it is there; `length` bytes of body had been asked for."""
    body = buffer[head.length : head.whole]
    if len(body) < _WORTH_COPYING or len(body) < length:
        body = memoryview(bytes(body))
    return Answer(head.status, head.headers, body)


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
