"""HTTP/1.1 exchanges of small bodies without a task for each: what a small file costs is mostly changing tasks.

One task waits for all connections together and receives what comes; whoever asked is called back. That is for the
exchange where nothing happens but the answer. Whatever else does (no connection at hand, one that breaks, an answer
that does not come, a framing that is not the plain one) ends in "no", and the caller asks in the ordinary way, which
knows what to do and what to say. Invariants:

- `done` is called once for each exchange that was begun, by the loop, never from within `begin`; not at all for those
  that are under way when `serve` ends.
- An answer is whole, and only after a whole answer is a connection used again.
- An exchange ends: when its server stands still, or sends less than its share (`aio.progress`).
"""

import logging
import ssl
from collections.abc import Callable

import trio

from mountd.aio.buffers import unfilled
from mountd.aio.progress import share_of
from mountd.stores.http_answer import HEAD_ROOM, Answer, DeclinedError, Head, answer_in, head_of
from mountd.stores.http_connections import Connection, Connections
from mountd.units import KIB

_log = logging.getLogger(__name__)

LARGEST = 256 * KIB
"""Bytes of body. Larger ones are few, and received in an order of their own."""
MOST_EXCHANGES = 128
REST_S = 5.0
"""For how long nothing is begun once the server has said that it is troubled: the ordinary way waits as it says."""
LOOKS = 4
"""How often exchanges are looked at in the time that one may stand still."""

Done = Callable[[Answer | None, float], None]
"""Takes the answer, None: ask in the ordinary way; and when the exchange got on last, on the loop's clock."""


class _Exchange:
    """One request that was sent."""

    __slots__ = ("buffer", "connection", "counted", "done", "got", "got_on_at", "head", "length", "moved_at")

    def __init__(self, connection: Connection, length: int, done: Done, now: float) -> None:
        self.connection = connection
        self.length = length
        self.done = done
        self.buffer = memoryview(unfilled(HEAD_ROOM + length))
        self.got = 0
        self.counted = 0
        """Of what came, bytes that were taken for progress (`aio.progress`)."""
        self.head: Head | None = None
        self.got_on_at = self.moved_at = now

    def moved(self, share: int, now: float) -> None:
        """Bytes came; `share` of them are progress."""
        self.moved_at = now
        if self.got - self.counted >= share:
            self.counted = self.got
            self.got_on_at = self.moved_at


class QuickHttp:
    """Exchanges with one server.

    Args:
        connections: to that server; the ordinary way makes them.
        stall_s: for how long an exchange may stand still, seconds.
        total_s: the time in which it owes its share, seconds.
    """

    def __init__(self, connections: Connections, *, stall_s: float, total_s: float) -> None:
        self._connections = connections
        self._stall_s = stall_s
        self._total_s = total_s
        self._running: dict[int, _Exchange] = {}
        """By descriptor."""
        self._serves = False
        self._resting_until = -float("inf")

    def begin(self, request: bytes, length: int, done: Done) -> bool:
        """Send `request`, whose answer has a body of up to `length` bytes; False: ask in the ordinary way."""
        if not self._serves or length > LARGEST or len(self._running) >= MOST_EXCHANGES:
            return False
        now = trio.current_time()
        if now < self._resting_until:
            return False
        try:
            connection = self._connections.take_watched(now)
        except OSError:  # the kernel watches no more
            return False
        if connection is None:
            return False
        try:
            exchange = _Exchange(connection, length, done, now)
            if connection.sock.send(request) == len(request):
                self._running[connection.number] = exchange
                return True
        except (OSError, MemoryError):
            pass
        connection.close()
        return False

    def rest(self) -> None:
        """Begin nothing for a while."""
        self._resting_until = trio.current_time() + REST_S

    async def serve(self, moved: Callable[[], None]) -> None:
        """Receive answers until cancelled; `moved` is told of exchanges that take long and get on."""
        try:
            epoll = self._connections.epoll
        except OSError as error:
            _log.warning("small files are fetched in the ordinary way: %s", error.strerror)
            return
        self._serves = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look_after, moved)
                while True:
                    await trio.lowlevel.wait_readable(epoll)
                    self._receive_all(epoll.poll(0))
        finally:
            self._serves = False
            while self._running:
                self._running.popitem()[1].connection.close()

    def _receive_all(self, told: list[tuple[int, int]]) -> None:
        """Receive what is there, of all answers first: what is done alike finds the processor's caches warm."""
        now = trio.current_time()
        over: list[_Exchange] = []
        for number, _ in told:
            exchange = self._running.get(number)
            if exchange is None:
                self._connections.spoke(number)
            elif self._receive(exchange, now):
                over.append(exchange)
        for exchange in over:
            self._end(exchange, exchange.head, now)

    def _receive(self, exchange: _Exchange, now: float) -> bool:
        """Receive what is there of an answer; return whether it is over: whole, or without a head for good."""
        sock, buffer = exchange.connection.sock, exchange.buffer
        try:
            while True:
                count = sock.recv_into(buffer[exchange.got :])
                if not count:
                    break  # closed
                exchange.got += count
                head = exchange.head
                if head is None:
                    head = exchange.head = head_of(buffer[: exchange.got])
                    if head is not None and head.whole > len(buffer):
                        break
                if head is not None and exchange.got >= head.whole:
                    if exchange.got > head.whole:
                        break  # and something that nobody asked for
                    return True
                exchange.moved(share_of(len(self._running)), now)
                if not self._connections.has_tls:
                    return False  # there is hardly more, and it is told of again if there is
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except (OSError, DeclinedError):
            pass
        exchange.head = None
        return True

    def _end(self, exchange: _Exchange, head: Head | None, now: float) -> None:
        """Call back whoever asked; `head`: of the answer that is here, whole."""
        connection = exchange.connection
        del self._running[connection.number]
        if head is not None and head.keeps_connection:
            self._connections.give_back(connection, now)
        else:
            connection.close()
        answer: Answer | None = None
        if head is not None:
            try:
                answer = answer_in(exchange.buffer, head, exchange.length)
            except MemoryError:
                answer = None
        try:
            exchange.done(answer, exchange.got_on_at)
        except Exception:  # noqa: BLE001 - a defect of ours: others' answers go on
            _log.exception("an answer was not taken")

    async def _look_after(self, moved: Callable[[], None]) -> None:
        """End exchanges that stand still or send too little, and tell of those that go on."""
        looked_at = trio.current_time()
        while True:
            await trio.sleep(self._stall_s / LOOKS)
            now = trio.current_time()
            got_on = False
            for exchange in list(self._running.values()):
                if now - exchange.moved_at > self._stall_s or now - exchange.got_on_at > self._total_s:
                    self._end(exchange, None, now)
                else:
                    got_on = got_on or (exchange.counted > 0 and exchange.got_on_at > looked_at)
            if got_on:
                moved()
            looked_at = now
