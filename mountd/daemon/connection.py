"""A trio stream that carries control messages."""

import socket
from typing import Any, Generic, TypeVar

import trio

from mountd.wire.codec import Conversation, ProtocolError, encode
from mountd.wire.messages import Message

_READ_BYTES = 64 << 10
T = TypeVar("T")


def as_stream(sock: socket.socket) -> trio.SocketStream:
    """Return a trio stream that takes over `sock`, a connected stream socket."""
    sock.setblocking(False)
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


class Connection(Generic[T]):
    """Sends messages and receives those of the type `incoming`; one task may send while another receives."""

    def __init__(self, stream: trio.SocketStream, incoming: Any) -> None:
        self._stream = stream
        self._conversation: Conversation[T] = Conversation(incoming)
        self._received: list[T] = []
        self._greeted = False
        self._sending = trio.Lock()

    async def greet(self) -> None:
        """Send our greeting now instead of with the first message, so that the other side knows who is there."""
        async with self._sending:
            await self._greet()

    async def send(self, message: Message) -> None:
        """Send one message.

        Raises:
            trio.BrokenResourceError: the other side is gone.
        """
        async with self._sending:
            await self._greet()
            await self._stream.send_all(encode(message))

    async def receive(self) -> T | None:
        """Return the next message, or None when the other side has closed.

        Raises:
            ProtocolError: the other side does not speak this protocol.
        """
        while not self._received:
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except trio.BrokenResourceError:
                return None
            if not data:
                if self._conversation.inside_frame:
                    raise ProtocolError("the other side of the control connection ended in the middle of a message")
                return None
            self._received += self._conversation.feed(bytes(data))
        return self._received.pop(0)

    async def aclose(self) -> None:
        """Close at once."""
        await self._stream.aclose()

    async def _greet(self) -> None:
        if not self._greeted:
            self._greeted = True
            await self._stream.send_all(Conversation.greeting())
