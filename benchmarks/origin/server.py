"""The event loop: connections, requests, latency and pacing, on raw epoll in one thread.

Why not asyncio or trio: this process shares two cores with the program it measures, and the loop below answers a
small GET in a third of the processor time. Bodies leave by `sendfile` from memory.
Invariants: one request of a connection is answered at a time; `turn` moves on when an answer starts or the connection
is closed, so a timer of an earlier turn does nothing; the server ends when its standard input does.
"""

import contextlib
import heapq
import os
import select
import socket
import struct
from collections import deque
from email.utils import formatdate
from time import monotonic, time

import msgspec

from benchmarks.origin.answer import End, Pause, Segment, Window, lay_out
from benchmarks.origin.blob import BlobService, Request, Response, fault_status
from benchmarks.origin.objects import Account
from benchmarks.origin.pacing import Clock, Pacer
from benchmarks.origin.settings import Control, Counters, Fault, FaultPlan, Settings

CONTROL_PATH = b"/_control"

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST
_RECEIVE = 256 << 10
_UNPACED = 1 << 40


class Connection:
    """One client."""

    __slots__ = (
        "allowance",
        "busy",
        "clock",
        "closed",
        "counted",
        "fd",
        "received",
        "segments",
        "sock",
        "turn",
        "waits",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.received = bytearray()
        self.segments: deque[Segment] = deque()
        self.busy = False
        self.waits = False  # for room in the socket
        self.closed = False
        self.counted = False  # in Counters.in_flight
        self.turn = 0
        self.clock = Clock()
        self.allowance = 0  # bytes that may leave now


class Server:
    """Serves `account` on 127.0.0.1; `run` returns when standard input ends."""

    def __init__(self, account: Account, settings: Settings, *, port: int = 0) -> None:
        self._account = account
        self._tape = account.tape
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._service = BlobService(account, f"http://127.0.0.1:{self.port}/devstoreaccount1")
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._timers: list[tuple[float, int, Connection, int]] = []
        self._sequence = 0
        self._settings = settings
        self._faults = FaultPlan(settings)
        self._pacer = Pacer(settings)
        self._counters = Counters()
        self._log: deque[tuple[str, str, str, int]] = deque(maxlen=100_000)
        self._second = 0
        self._date = b""

    def run(self) -> None:
        """Serve until standard input ends."""
        listener, stdin = self._listener.fileno(), 0
        self._epoll.register(listener, select.EPOLLIN)
        self._epoll.register(stdin, select.EPOLLIN)
        while True:
            for fd, events in self._wait():
                if fd == listener:
                    self._accept()
                elif fd == stdin:
                    if not os.read(stdin, 4096):
                        return
                elif (connection := self._connections.get(fd)) is not None:
                    if events & select.EPOLLOUT:
                        self._send(connection)
                    if events & ~select.EPOLLOUT and not connection.closed:
                        self._receive(connection)

    def _wait(self) -> list[tuple[int, int]]:
        timers = self._timers
        now = monotonic()
        while timers and timers[0][0] <= now:
            _, _, connection, turn = heapq.heappop(timers)
            if connection.turn == turn:
                self._send(connection)
        if not timers:
            return self._epoll.poll()
        wait = timers[0][0] - monotonic()
        if wait > 0:
            # epoll counts whole milliseconds and would add up to one to every latency; select counts microseconds
            select.select([self._epoll.fileno()], (), (), wait)
        return self._epoll.poll(0)

    def _send_at(self, when: float, connection: Connection) -> None:
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, connection, connection.turn))

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = Connection(sock)
                self._connections[connection.fd] = connection
                self._epoll.register(connection.fd, select.EPOLLIN)
                counters = self._counters
                counters.connections += 1
                counters.open_connections += 1
                counters.max_connections = max(counters.max_connections, counters.open_connections)

    def _close(self, connection: Connection) -> None:
        connection.closed = True
        self._end_turn(connection)
        del self._connections[connection.fd]
        connection.sock.close()
        self._counters.open_connections -= 1

    def _end_turn(self, connection: Connection) -> None:
        connection.turn += 1
        if connection.counted:
            connection.counted = False
            self._counters.in_flight -= 1

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.received += data
        self._serve(connection)

    def _serve(self, connection: Connection) -> None:
        """Answer the requests that have arrived whole, as long as answers leave at once."""
        received = connection.received
        while not connection.busy and not connection.closed:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            first, *lines = bytes(received[:end]).split(b"\r\n")
            headers = {}
            for line in lines:
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip()
            stop = end + 4 + int(headers.get(b"content-length", 0))
            if len(received) < stop:
                if headers.get(b"expect", b"").lower() == b"100-continue" and len(received) == end + 4:
                    connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            body = bytes(received[end + 4 : stop])
            del received[:stop]
            method, target, _ = first.split(b" ", 2)
            self._respond(connection, Request(method, target, headers, body))

    def _respond(self, connection: Connection, request: Request) -> None:
        connection.busy = True
        with_body = request.method != b"HEAD"
        if request.target == CONTROL_PATH:
            response, fault, latency_s = self._control(request), None, 0.0
        else:
            response, fault = self._answer(request)
            self._count(connection, request, response)
            latency_s = self._settings.latency_ms / 1000
        connection.segments.extend(lay_out(response, self._common(), self._tape, with_body=with_body, fault=fault))
        if latency_s:
            self._send_at(monotonic() + latency_s, connection)
        else:
            self._send(connection)

    def _answer(self, request: Request) -> tuple[Response, Fault | None]:
        response = self._service.answer(request)
        if not self._settings.faults or (fault := self._faults.strike(response.operation, response.key)) is None:
            return response, None
        self._counters.faults[fault.kind] = self._counters.faults.get(fault.kind, 0) + 1
        if fault.kind == "status":
            return fault_status(response.operation, fault.status, fault.retry_after_s, response.key), None
        if fault.kind == "etag":
            response.headers = response.headers.replace(b'ETag: "0x8D', b'ETag: "0x0F')
        return response, fault

    def _count(self, connection: Connection, request: Request, response: Response) -> None:
        counters, operation, status = self._counters, response.operation, str(response.status)
        counters.requests[operation] = counters.requests.get(operation, 0) + 1
        counters.statuses[status] = counters.statuses.get(status, 0) + 1
        counters.bytes_received += len(request.body)
        counters.in_flight += 1
        counters.max_in_flight = max(counters.max_in_flight, counters.in_flight)
        connection.counted = True
        if request.method != b"HEAD" and response.tape_start < 0:
            counters.bytes_sent += response.length  # of the tape, they are counted as they leave
        if self._settings.record:
            asked = request.headers.get(b"x-ms-range") or request.headers.get(b"range") or b""
            self._log.append((operation, response.key, asked.decode("latin-1"), response.status))

    def _common(self) -> bytes:
        now = int(time())
        if now != self._second:
            self._second = now
            date = formatdate(now, usegmt=True)
            self._date = f"Server: Origin\r\nx-ms-version: 2025-11-05\r\nDate: {date}\r\n".encode()
        self._sequence += 1
        return b"%sx-ms-request-id: 00000000-0000-0000-0000-%012x\r\n" % (self._date, self._sequence)

    def _send(self, connection: Connection) -> None:
        """Send what may be sent now; a paced, paused or full connection comes back here later."""
        segments = connection.segments
        try:
            while segments:
                segment = segments[0]
                if isinstance(segment, End):
                    if segment.reset:
                        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    self._close(connection)
                    return
                if isinstance(segment, Pause):
                    segments.popleft()
                    if segment.seconds:
                        self._send_at(monotonic() + segment.seconds, connection)
                    self._wait_for_room(connection, waits=False)
                    return
                if not self._may_send(connection, segment):
                    return
                rest = self._send_segment(connection, segment)
                if rest is None:
                    segments.popleft()
                else:
                    segments[0] = rest
        except BlockingIOError:
            self._wait_for_room(connection, waits=True)
            return
        except OSError:
            self._close(connection)
            return
        self._wait_for_room(connection, waits=False)
        self._end_turn(connection)
        connection.busy = False
        if connection.received:
            self._serve(connection)

    def _may_send(self, connection: Connection, segment: bytes | memoryview | Window) -> bool:
        """Whether bytes of `segment` may leave now; if not, a timer is set."""
        if connection.allowance:
            return True
        if not self._pacer.active:
            connection.allowance = _UNPACED
            return True
        now = monotonic()
        length = segment.length if isinstance(segment, Window) else len(segment)
        connection.allowance, when = self._pacer.grant(connection.clock, length, now)
        if when <= now:
            return True
        self._wait_for_room(connection, waits=False)
        self._send_at(when, connection)
        return False

    def _send_segment(self, connection: Connection, segment: bytes | memoryview | Window) -> Segment | None:
        """Send as much of `segment` as fits and is allowed; return what is left of it."""
        if isinstance(segment, Window):
            offset, length = segment
            sent = os.sendfile(connection.fd, self._tape.fd, offset, min(length, connection.allowance))
            self._counters.bytes_sent += sent
            rest: Segment | None = None if sent == length else Window(offset + sent, length - sent)
        else:
            # a head waits for the body that follows at once: one packet, one wake-up of the client
            more = socket.MSG_MORE if len(connection.segments) > 1 and isinstance(connection.segments[1], Window) else 0
            view = memoryview(segment)
            sent = connection.sock.send(view[: connection.allowance], more)
            rest = None if sent == len(view) else view[sent:]
        connection.allowance = 0 if self._pacer.active and rest is None else connection.allowance - sent
        return rest

    def _wait_for_room(self, connection: Connection, *, waits: bool) -> None:
        if connection.waits != waits and not connection.closed:
            connection.waits = waits
            self._epoll.modify(connection.fd, select.EPOLLIN | (select.EPOLLOUT if waits else 0))

    def _control(self, request: Request) -> Response:
        if request.method == b"POST":
            try:
                self._apply(msgspec.json.decode(request.body, type=Control))
            except (msgspec.ValidationError, msgspec.DecodeError, KeyError) as problem:
                return Response("other", 400, b"", str(problem).encode())
        state = {"settings": self._settings, "counters": self._counters, "requests": list(self._log)}
        return Response("other", 200, b"Content-Type: application/json\r\n", msgspec.json.encode(state))

    def _apply(self, control: Control) -> None:
        if control.settings:
            merged = msgspec.to_builtins(self._settings) | control.settings
            self._settings = msgspec.convert(merged, Settings)
            self._faults = FaultPlan(self._settings)
            self._pacer = Pacer(self._settings)
            for connection in self._connections.values():
                connection.allowance = 0
        for dataset in control.datasets:
            self._account.container(dataset.container).generate(dataset)
        for name in control.replace:
            self._account.containers[name.container].replace(name.key)
        if control.reset_counters:
            open_now, in_flight = self._counters.open_connections, self._counters.in_flight
            self._counters = Counters(
                open_connections=open_now, max_connections=open_now, in_flight=in_flight, max_in_flight=in_flight
            )
            self._log.clear()
