"""Frames and the version handshake of the control protocol, without any I/O.

A frame is a length of four bytes (big endian) and that many bytes of MessagePack; JSON has no infinity, which is the
TTL of a mount that never asks again. Each side's first frame is a `Hello`; nothing after it is decoded if the
protocols differ.
"""

import os
import struct
from typing import Any, Generic, TypeVar

import msgspec

from mountd.errors import MountdError, UsageError
from mountd.wire.messages import PROTOCOL, Hello, Message

MAX_FRAME_BYTES = 4 << 20
"""Far above any message (the status of a thousand mounts takes 1 MiB); refuses garbage before it costs memory."""

_LENGTH = struct.Struct(">I")
T = TypeVar("T")


class ProtocolError(MountdError):
    """The other side does not speak the control protocol, or another version of it."""


def pack(value: Any) -> msgspec.Raw:
    """Return `value` encoded for a field that carries a value of a higher layer.

    Raises:
        UsageError: a text in it is not Unicode.
    """
    return msgspec.Raw(_encode(value))


def unpack(raw: msgspec.Raw, kind: type[T]) -> T:
    """Return the value that `pack` encoded.

    Raises:
        ProtocolError: it is not a `kind`.
    """
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"a control message does not hold a valid {kind.__name__}: {error}") from None


def encode(message: Message) -> bytes:
    """Return `message` as one frame.

    Raises:
        ProtocolError: it is larger than a frame may be.
        UsageError: a text in it is not Unicode.
    """
    body = _encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a control message of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(body)) + body


def _encode(value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except UnicodeEncodeError as error:
        raise UsageError(f"{error.object!r}: is not UTF-8, and what mounts are told has to be") from None


class Conversation(Generic[T]):
    """One side of a connection: what to send first, and what the received bytes mean.

    `incoming` is the type, usually a union, of the messages that the other side may send.
    """

    def __init__(self, incoming: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(incoming)
        self._buffer = bytearray()
        self._peer: Hello | None = None

    @property
    def peer(self) -> Hello | None:
        """The other side's greeting, once it has arrived."""
        return self._peer

    @property
    def inside_frame(self) -> bool:
        """Bytes of an unfinished frame have arrived: the end of the stream would now be a cut."""
        return bool(self._buffer)

    @staticmethod
    def greeting() -> bytes:
        """Return the frame to send before any other."""
        return encode(Hello(pid=os.getpid()))

    def feed(self, data: bytes) -> list[T]:
        """Take bytes in the order they arrived and return the messages that are now complete.

        Raises:
            ProtocolError: the bytes are not messages of this protocol; the connection is of no more use.
        """
        self._buffer += data
        messages: list[T] = []
        while (body := self._take_frame()) is not None:
            if self._peer is None:
                self._peer = _check_greeting(body)
            else:
                messages.append(self._decode(body))
        return messages

    def _take_frame(self) -> bytes | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > MAX_FRAME_BYTES:
            raise ProtocolError("what arrived on the control connection is not a mountd message")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return body

    def _decode(self, body: bytes) -> T:
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f"a control message is not understood: {error}") from None


def _check_greeting(body: bytes) -> Hello:
    try:
        hello = msgspec.msgpack.decode(body, type=Hello)
    except msgspec.MsgspecError:
        raise ProtocolError("what answers on the control connection is not mountd") from None
    if hello.protocol != PROTOCOL:
        raise ProtocolError(
            f"the mountd of process {hello.pid} speaks control protocol {hello.protocol} and this one {PROTOCOL}: "
            f"end its mounts with the version that made them, or with `kill {hello.pid}`"
        )
    return hello
