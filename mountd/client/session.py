"""One blocking conversation with a supervisor: greet, ask, hear the reply, each within one deadline."""

import os
import socket
import time
from typing import Self

from mountd.errors import DeadlineError, UnavailableError
from mountd.wire.codec import Conversation, encode
from mountd.wire.messages import Failed, Reply, Request
from mountd.wire.sockets import peer_of

_READ_BYTES = 64 << 10


class SupervisorSilentError(DeadlineError):
    """The supervisor did not answer in time."""


class SupervisorGoneError(UnavailableError):
    """The supervisor hung up before it answered."""


class Session:
    """A connection that carries one request and its reply."""

    def __init__(self, connection: socket.socket, *, timeout_s: float) -> None:
        """Take over `connection`; everything together may take `timeout_s`."""
        self._connection = connection
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        pid = peer_of(connection).pid
        # A socket pair was made by this process: its other end is a supervisor that is just starting.
        self._who = "the new mountd supervisor" if pid == os.getpid() else f"the mountd supervisor (pid {pid})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, request: Request) -> Reply:
        """Send `request` and return the reply.

        Raises:
            SupervisorSilentError: no reply in time.
            SupervisorGoneError: the supervisor hung up.
            MountdError: whatever it says went wrong.
        """
        reply = self._exchange(request)
        if isinstance(reply, Failed):
            raise reply.to_error()
        return reply

    def _exchange(self, request: Request) -> Reply:
        conversation: Conversation[Reply] = Conversation(Reply)
        try:
            self._connection.settimeout(self._left_s())
            self._connection.sendall(conversation.greeting() + encode(request))
            while True:
                self._connection.settimeout(self._left_s())
                data = self._connection.recv(_READ_BYTES)
                if not data:
                    raise SupervisorGoneError(f"{self._who} ended before it answered")
                for reply in conversation.feed(data):
                    return reply
        except TimeoutError:
            raise SupervisorSilentError(f"{self._who} did not answer within {self._timeout_s:g} s") from None
        except (BrokenPipeError, ConnectionResetError):
            raise SupervisorGoneError(f"{self._who} ended before it answered") from None

    def _left_s(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
