"""What one small GET costs a Python program: the reason why ranged GETs go through obstore.

`python -m benchmarks.micro.get_cost` fetches 110 kB objects from the origin in 8 threads with each client that mountd
could use, and prints processor time of this process per object and objects per second. `raw` is a plain socket and
almost no parsing: what is left to win. The origin runs beside it and takes its share of the cores.
"""

import argparse
import http.client
import socket
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import local
from time import perf_counter, process_time

import obstore
from azure.storage.blob import ContainerClient
from obstore.store import AzureStore

from benchmarks.origin.process import Dataset, Origin, running_origin

SIZE = 110_000
THREADS = 8
DATA = Dataset(container="small", pattern="{index:05d}.jpg", count=1000, size=SIZE)

Get = Callable[[str], int]


def _azure(origin: Origin) -> Get:
    credential = {"account_name": origin.account, "account_key": origin.key}
    container = ContainerClient(origin.url, DATA.container, credential=credential)

    def get(name: str) -> int:
        return len(container.get_blob_client(name).download_blob(offset=0, length=SIZE).readall())

    return get


def _obstore(origin: Origin) -> Get:
    store = AzureStore(
        container_name=DATA.container, account_name=origin.account, account_key=origin.key, endpoint=origin.url,
        client_options={"allow_http": True},
    )  # fmt: skip

    def get(name: str) -> int:
        return len(obstore.get_range(store, name, start=0, end=SIZE))

    return get


def _obstore_if_match(origin: Origin) -> Get:
    store = AzureStore(
        container_name=DATA.container, account_name=origin.account, account_key=origin.key, endpoint=origin.url,
        client_options={"allow_http": True},
    )  # fmt: skip
    etags = {entry["path"]: entry["e_tag"] for page in obstore.list(store) for entry in page}

    def get(name: str) -> int:
        etag = f'"{(etags[name] or "").strip(chr(34))}"'  # lists say it without quotes
        return len(obstore.get(store, name, options={"range": (0, SIZE), "if_match": etag}).bytes())

    return get


def _http_client(origin: Origin) -> Get:
    threads = local()

    def get(name: str) -> int:
        if not hasattr(threads, "connection"):
            threads.connection = http.client.HTTPConnection("127.0.0.1", origin.port)
        path = f"/{origin.account}/{DATA.container}/{name}"
        threads.connection.request("GET", path, headers={"x-ms-range": f"bytes=0-{SIZE - 1}"})
        return len(threads.connection.getresponse().read())

    return get


def _raw(origin: Origin) -> Get:
    threads = local()

    def get(name: str) -> int:
        if not hasattr(threads, "sock"):
            threads.sock = socket.create_connection(("127.0.0.1", origin.port))
            threads.buffer = memoryview(bytearray(SIZE + 4096))
        sock, buffer = threads.sock, threads.buffer
        request = f"GET /{origin.account}/{DATA.container}/{name} HTTP/1.1\r\nx-ms-range: bytes=0-{SIZE - 1}\r\n\r\n"
        sock.send(request.encode())
        got = sock.recv_into(buffer)
        whole = bytes(buffer[:2048]).find(b"\r\n\r\n") + 4 + SIZE
        while got < whole:
            got += sock.recv_into(buffer[got:whole], 0, socket.MSG_WAITALL)
        return SIZE

    return get


CLIENTS: dict[str, Callable[[Origin], Get]] = {
    "azure-storage-blob": _azure,
    "http.client": _http_client,
    "obstore, if_match": _obstore_if_match,
    "obstore": _obstore,
    "raw socket": _raw,
}


def _measure(get: Get, names: list[str]) -> Iterator[float]:
    """Yield milliseconds of processor time per object, and objects per second."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(get, names[: 4 * THREADS]))  # connections stand
        processor, began = process_time(), perf_counter()
        total = sum(pool.map(get, names))
        yield (process_time() - processor) / len(names) * 1000
        yield len(names) / (perf_counter() - began)
    if total != len(names) * SIZE:
        raise RuntimeError(f"{total} bytes came, not {len(names) * SIZE}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.get_cost", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    names = [DATA.pattern.format(index=index) for index in range(DATA.count)]
    with running_origin(DATA) as origin:
        gets = {name: make(origin) for name, make in CLIENTS.items()}
        rounds = [{name: tuple(_measure(get, names)) for name, get in gets.items()} for _ in range(repeat)]
    print(f"{len(names)} objects of {SIZE} bytes, {THREADS} threads, median of {repeat}")
    for name in CLIENTS:
        cost, rate = (statistics.median(one[name][column] for one in rounds) for column in range(2))
        print(f"  {name:<20} {cost:6.3f} ms of processor per object   {rate:6.0f} objects/s")


if __name__ == "__main__":
    main()
