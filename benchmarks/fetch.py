"""The fetch ceiling: parallel GETs straight from the origin, by the fastest clients there are.

`python -m benchmarks.fetch` takes one job on standard input and prints a `Sample`. Two clients: `raw` speaks HTTP over
plain sockets into buffers that exist already and looks at nothing but the end of the head; `obstore` is what mountd
uses. The ceiling is the better median of the two, each with several numbers of connections.
"""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Literal

import msgspec
import obstore
from obstore.store import AzureStore

from benchmarks.jobs import Sample

Client = Literal["raw", "obstore"]

_HEAD_ROOM = 4096


class FetchJob(msgspec.Struct, kw_only=True):
    """What to fetch: ranges of one object, or objects whole."""

    client: Client
    port: int
    account: str
    key: str
    container: str
    names: list[str]
    """One name: its ranges. More: each whole."""
    size: int
    """Of each object."""
    block: int = 8 << 20
    connections: int = 8


class Piece(msgspec.Struct, frozen=True):
    """One GET."""

    name: str
    start: int
    stop: int


def run(job: FetchJob) -> Sample:
    """Do `job`."""
    if len(job.names) == 1:
        starts = range(0, job.size, job.block)
        pieces = [Piece(job.names[0], start, min(start + job.block, job.size)) for start in starts]
    else:
        pieces = [Piece(name, 0, job.size) for name in job.names]
    seconds = _raw(job, pieces) if job.client == "raw" else _obstore(job, pieces)
    return Sample(seconds=seconds, bytes=sum(piece.stop - piece.start for piece in pieces), operations=len(pieces))


def _timed(workers: int, prepare: Callable[[], Callable[[], None]]) -> float:
    """Return the seconds that `workers` threads need, not counting what `prepare` does in each."""
    barrier = threading.Barrier(workers + 1)
    failures: list[BaseException] = []

    def body() -> None:
        try:
            work = prepare()
            barrier.wait()
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=body) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        barrier.wait()
    except threading.BrokenBarrierError:
        raise RuntimeError("a connection failed") from (failures[0] if failures else None)
    began = perf_counter()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - began
    if failures:
        raise failures[0]
    return seconds


def _raw(job: FetchJob, pieces: list[Piece]) -> float:
    left: Iterator[Piece] = iter(pieces)  # next() on a list iterator is atomic
    longest = max(piece.stop - piece.start for piece in pieces)

    def prepare() -> Callable[[], None]:
        sock = socket.create_connection(("127.0.0.1", job.port), timeout=60)
        sock.settimeout(None)
        buffer = memoryview(bytearray(b"\0" * (longest + _HEAD_ROOM)))

        def work() -> None:
            with sock:
                for piece in left:
                    path = f"/{job.account}/{job.container}/{piece.name}"
                    _get(sock, buffer, path, piece.start, piece.stop)

        return work

    return _timed(job.connections, prepare)


def _get(sock: socket.socket, buffer: memoryview, path: str, start: int, stop: int) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: origin\r\nx-ms-range: bytes={start}-{stop - 1}\r\n\r\n"
    sock.send(request.encode())
    got, end = 0, -1
    while end < 0:
        received = sock.recv_into(buffer[got:])
        if not received:
            raise ConnectionError(f"GET {path}: the origin closed the connection")
        got += received
        end = bytes(buffer[: min(got, _HEAD_ROOM)]).find(b"\r\n\r\n")
    if bytes(buffer[9:12]) != b"206":
        raise ConnectionError(f"GET {path}: status {bytes(buffer[9:12]).decode()}")
    whole = end + 4 + stop - start
    while got < whole:
        received = sock.recv_into(buffer[got:whole], 0, socket.MSG_WAITALL)
        if not received:
            raise ConnectionError(f"GET {path}: broken off")
        got += received


def _obstore(job: FetchJob, pieces: list[Piece]) -> float:
    store = AzureStore(
        container_name=job.container,
        account_name=job.account,
        account_key=job.key,
        endpoint=f"http://127.0.0.1:{job.port}/{job.account}",
        client_options={"allow_http": True},
    )

    def get(piece: Piece) -> int:
        return len(obstore.get(store, piece.name, options={"range": (piece.start, piece.stop)}).bytes())

    with ThreadPoolExecutor(job.connections) as pool:
        began = perf_counter()
        total = sum(pool.map(get, pieces))
        seconds = perf_counter() - began
    if total != sum(piece.stop - piece.start for piece in pieces):
        raise RuntimeError("fetched fewer bytes than asked for")
    return seconds


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.stdin.buffer.read(), type=FetchJob))))
