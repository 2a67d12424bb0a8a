"""HTTP/1.1 exchanges on sockets of the loop, without threads.

A small range through a thread costs more for handing it over than for fetching it. Here the loop itself sends the
request and receives the answer into the buffer that is kept: half the processor time of a small file, and on plain
connections of a large one. What this cannot do (a proxy, an old protocol, a framing that is not known, a server that
refuses connections) it *declines*, and the caller asks in another way, whose errors say what is wrong. Invariants:

- An answer is whole or an error, and only after a whole answer is a connection used again.
- A request is sent once; twice only if the server closed a kept connection without a word, as it may at any time.
- A cancelled or failed exchange closes its connection.
- At most `MOST_EXCHANGES` run; more are declined.
- Of large bodies that arrive together a few are received at a time, those that are due first. One whose bytes are not
  there leaves its place: a connection that is slow holds up no other.
"""

import socket
import ssl
from contextlib import suppress

import trio

from mountd.aio.buffers import unfilled
from mountd.aio.precedence import Precedence
from mountd.aio.progress import current
from mountd.stores.http_answer import (
    LAST_CHUNK,
    Answer,
    BrokenOffError,
    DeclinedError,
    Framing,
    Head,
    UnansweredError,
    answer_in,
    head_of,
    joined,
)
from mountd.stores.http_connections import Connection, Connections
from mountd.units import KIB, MIB

LARGEST = 8 * MIB
"""Bytes of body on a plain connection."""
LARGEST_WITH_TLS = 1 * MIB
"""Bytes of body with TLS. Larger ones, too, cost half of what they cost in threads; but the loop decrypts on one
processor, and threads on all of them."""
AT_ONCE = 1 * MIB
"""Bytes of a large body that are received before the loop's other tasks have their turn."""
SMALL = 256 * KIB
"""A body up to here stands in no line."""
WAKE_S = 0.1
"""The longest that bytes of a large body lie there because there could be more of them."""
LARGE_AT_ONCE = 4
"""Larger ones that are received side by side, as long as bytes of them are there: with one at a time the loop would
often find less to receive than it could, with all of them each would be whole at the end."""
DUE_BYTES_PER_S = 100e6
"""An exchange is due when its body would be whole at this rate: small ones go before large ones, old ones before new
ones, and those that have begun to arrive before those that have not."""
MOST_EXCHANGES = 192


class _Patience:
    """A scope that ends an exchange which stands still, or makes no progress."""

    __slots__ = ("_progress", "_stall_s", "_total_s", "scope")

    def __init__(self, stall_s: float, total_s: float) -> None:
        self._stall_s = stall_s
        self._total_s = total_s
        self._progress = current()
        self.scope = trio.CancelScope(deadline=self._ends_at())

    def moved(self, count: int) -> None:
        """Bytes came."""
        self._progress.moved(count)

    def suspend(self) -> None:
        """Until `renew`, what is waited for is this process itself."""
        self.scope.deadline = float("inf")

    def renew(self) -> None:
        """Something moved, and is waited for again."""
        self.scope.deadline = self._ends_at()

    def _ends_at(self) -> float:
        return trio.current_time() + min(self._stall_s, self._progress.left_s(self._total_s))


class _Place:
    """One exchange's place among those that receive; None for `precedence`: it stands in no line."""

    __slots__ = ("_began", "_has", "_precedence")

    def __init__(self, precedence: Precedence | None) -> None:
        self._precedence = precedence
        self._began = trio.current_time()
        self._has = False
        if precedence is not None:
            precedence.enter()

    @property
    def in_line(self) -> bool:
        """Whether it is one of those that go on a few at a time."""
        return self._precedence is not None

    async def take(self, missing: int, patience: _Patience) -> None:
        """Wait for the place, if it has none; `missing` bytes are yet to come."""
        if self._precedence is not None and not self._has:
            patience.suspend()  # who has a place has bytes to receive: the line moves
            await self._precedence.take(self._began + missing / DUE_BYTES_PER_S)
            self._has = True
            patience.renew()

    def leave(self) -> None:
        """Leave the place, if it has one."""
        if self._precedence is not None and self._has:
            self._has = False
            self._precedence.leave()

    def end(self) -> None:
        """Leave it for good."""
        self.leave()
        if self._precedence is not None:
            self._precedence.exit()


class LoopHttp:
    """Exchanges with one server.

    Args:
        connections: to that server.
        stall_s: for how long an exchange may stand still, seconds.
        total_s: for how long it may make no progress (`aio.progress`), seconds.
    """

    def __init__(self, connections: Connections, *, stall_s: float, total_s: float) -> None:
        self._connections = connections
        self._stall_s = stall_s
        self._total_s = total_s
        self.largest = LARGEST_WITH_TLS if connections.has_tls else LARGEST
        """The longest body that is fetched here, bytes."""
        self._running = 0
        self._precedence = Precedence(LARGE_AT_ONCE)

    async def exchange(self, request: bytes, length: int, framing: Framing = Framing.LENGTH) -> Answer:
        """Send `request` and return the answer; a body of more than `length` bytes is left out.

        Raises:
            DeclinedError: ask in another way.
            trio.TooSlowError: the server stood still, or made no progress.
            BrokenOffError: the answer was cut off.
            OSError: the connection failed before it began.
        """
        if length > LARGEST or self._connections.proxied or self._running >= MOST_EXCHANGES:
            raise DeclinedError
        self._running += 1
        try:
            while (used := self._connections.take_idle()) is not None:
                with suppress(UnansweredError):
                    return await self._on(used, request, length, framing)
            return await self._on(await self._connections.connect(), request, length, framing)
        finally:
            self._running -= 1

    async def _on(self, connection: Connection, request: bytes, length: int, framing: Framing) -> Answer:
        whole = False
        patience = _Patience(self._stall_s, self._total_s)
        try:
            with patience.scope:
                await _send(connection.sock, request)
                answer, whole = await self._receive(connection.sock, length, patience, framing)
                return answer
        finally:
            if whole:
                self._connections.give_back(connection, trio.current_time())
            else:
                connection.close()
        raise trio.TooSlowError

    async def _receive(
        self, sock: socket.socket, length: int, patience: "_Patience", framing: Framing
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether the connection can be used for another."""
        place = _Place(self._precedence if not self._connections.has_tls and length > SMALL else None)
        got = 0
        head: Head | None = None
        try:
            buffer = memoryview(unfilled(framing.head_room + length))
            if not self._connections.has_tls:
                await trio.lowlevel.wait_readable(sock)  # it cannot be here yet
            while head is None or got < head.whole:
                room = buffer[got : got + AT_ONCE]
                missing = (length if head is None else head.whole) - got
                try:
                    count = await _some(sock, room, place, missing, patience, known=head is not None)
                except OSError as error:
                    raise (BrokenOffError if got else UnansweredError) from error
                if not count:
                    raise BrokenOffError if got else UnansweredError
                got += count
                patience.moved(count)
                if count == AT_ONCE:
                    await trio.lowlevel.checkpoint()
                if head is None:
                    head = head_of(buffer[:got], framing)
                    if head is not None and head.has_chunks:
                        return await self._receive_chunks(sock, buffer, got, head, patience)
                    if head is not None and head.whole > len(buffer):
                        return Answer(head.status, head.headers, memoryview(b"")), False
        finally:
            place.end()
        return answer_in(buffer, head, length), got == head.whole and head.keeps_connection

    @staticmethod
    async def _receive_chunks(
        sock: socket.socket, buffer: memoryview, got: int, head: Head, patience: "_Patience"
    ) -> tuple[Answer, bool]:
        """Return an answer that comes in chunks, of which `got` bytes are in `buffer`, head included."""
        searched = head.length
        while True:
            # Without that it is not worth taking apart.
            if LAST_CHUNK in bytes(buffer[searched:got]) and (found := joined(buffer[head.length : got])):
                break
            if got == len(buffer):
                return Answer(head.status, head.headers, memoryview(b"")), False
            searched = max(head.length, got - len(LAST_CHUNK) + 1)
            await trio.lowlevel.checkpoint()
            try:
                count = await _some(sock, buffer[got:], _Place(None), 0, patience, known=True)
            except OSError as error:
                raise BrokenOffError from error
            if not count:
                raise BrokenOffError
            got += count
            patience.moved(count)
        body, taken = found
        whole = got == head.length + taken
        return Answer(head.status, head.headers, memoryview(body)), whole and head.keeps_connection


async def _send(sock: socket.socket, request: bytes) -> None:
    while request:
        try:
            request = request[sock.send(request) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            await trio.lowlevel.wait_writable(sock)
        except OSError as error:
            raise UnansweredError from error


async def _some(
    sock: socket.socket, room: memoryview, place: "_Place", missing: int, patience: _Patience, *, known: bool
) -> int:
    """Receive what is there, once something is, and return how much; 0 at the end of the connection.

    `missing` bytes are yet to come; that is `known` once the head is here, and an estimate before.
    """
    while True:
        await place.take(missing, patience)
        try:
            return sock.recv_into(room)
        except (BlockingIOError, ssl.SSLWantReadError):
            place.leave()
            patience.renew()
            if not (known and place.in_line and await _much(sock, min(missing, len(room)))):
                await trio.lowlevel.wait_readable(sock)


async def _much(sock: socket.socket, wanted: int) -> bool:
    """Wait until `wanted` bytes are there, or the kernel has no room for more; False: not within `WAKE_S`.

    A turn of the loop for each little that comes in costs more than receiving it. Never for more than will come.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
    try:
        with trio.move_on_after(WAKE_S) as waiting:
            await trio.lowlevel.wait_readable(sock)
    finally:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    return not waiting.cancelled_caught
