"""Start an origin as a process of its own and steer it: for benchmarks, and for tests that need faults.

    with running_origin(Dataset(container="c", count=3, size=1 << 20)) as origin:
        origin.control(latency_ms=15, faults=[Fault(kind="reset", every=3)])
        … read from origin.container_url("c") …
        assert origin.counters().requests["get"] == 3

The process ends with the `with` block, and also when the program that started it dies: its standard input closes.
Calls block for a moment (loopback, no storage behind it).
"""

import http.client
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from benchmarks.origin.blob import ACCOUNT
from benchmarks.origin.server import CONTROL_PATH
from benchmarks.origin.settings import Control, Counters, Dataset, Fault, Name, Settings, Setup
from benchmarks.origin.tape import DEFAULT_PAGES, Tape

__all__ = ["Counters", "Dataset", "Fault", "LoggedRequest", "Origin", "Settings", "running_origin"]

_PROJECT = Path(__file__).resolve().parents[2]
_DEADLINE_S = 30.0


class LoggedRequest(msgspec.Struct, array_like=True, frozen=True):
    """One answered request, when `record` is set."""

    operation: str
    key: str
    """Of a listing: its prefix."""
    range: str
    """As asked: `bytes=0-99`, or empty."""
    status: int


class _State(msgspec.Struct):
    settings: Settings
    counters: Counters
    requests: list[LoggedRequest]


class Origin:
    """A running origin; all its speed and fault settings start at none."""

    account = ACCOUNT
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    """The emulator's well-known key; any other is accepted as well."""

    def __init__(self, port: int, pid: int, tape_pages: int) -> None:
        self.port = port
        self.pid = pid
        self.url = f"http://127.0.0.1:{port}/{ACCOUNT}"
        self._tape_pages = tape_pages
        self._tape: Tape | None = None

    def container_url(self, container: str) -> str:
        """Return a SOURCE for `mountd mount`."""
        return f"{self.url}/{container}"

    def control(self, **settings: Any) -> None:
        """Set fields of `Settings`; the others keep their values."""
        self._post(Control(settings=msgspec.to_builtins(settings)))

    def add(self, *datasets: Dataset) -> None:
        """Generate objects."""
        self._post(Control(datasets=list(datasets)))

    def replace(self, container: str, key: str) -> None:
        """Give a generated object a new version: other bytes, the same size and time."""
        self._post(Control(replace=[Name(container=container, key=key)]))

    def reset(self) -> None:
        """Set all counters to zero and forget the recorded requests."""
        self._post(Control(reset_counters=True))

    def settings(self) -> Settings:
        """Return what is set now."""
        return self._post(Control()).settings

    def counters(self) -> Counters:
        """Return what was counted since the start or the last `reset`."""
        return self._post(Control()).counters

    def requests(self) -> list[LoggedRequest]:
        """Return the requests recorded since `control(record=True)`, oldest first."""
        return self._post(Control()).requests

    def create_container(self, container: str) -> None:
        """Make an empty container."""
        self._call("PUT", f"/{ACCOUNT}/{container}?restype=container")

    def put(self, container: str, key: str, data: bytes = b"", metadata: Mapping[str, str] | None = None) -> str:
        """Write an object and return its ETag."""
        headers = {"x-ms-blob-type": "BlockBlob"} | {f"x-ms-meta-{n}": v for n, v in (metadata or {}).items()}
        return self._call("PUT", f"/{ACCOUNT}/{container}/{quote(key)}", data, headers)[0]["etag"]

    def delete(self, container: str, key: str) -> None:
        """Remove an object."""
        self._call("DELETE", f"/{ACCOUNT}/{container}/{quote(key)}")

    def expected(self, container: str, key: str, start: int, length: int, *, version: int = 0) -> bytes:
        """Return the bytes that `version` (0, then one more per `replace`) of a generated object must have."""
        if self._tape is None:
            self._tape = Tape(pages=self._tape_pages)
        return self._tape.read(self._tape.start_of(container, key, version) + start, length)

    def close(self) -> None:
        """Give back the memory that `expected` uses."""
        if self._tape is not None:
            self._tape.close()
            self._tape = None

    def _post(self, control: Control) -> _State:
        return msgspec.json.decode(
            self._call("POST", CONTROL_PATH.decode(), msgspec.json.encode(control))[1], type=_State
        )

    def _call(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_DEADLINE_S)
        try:
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            data = response.read()
            if response.status >= 300:
                raise RuntimeError(f"origin refused {method} {target}: {response.status} {data.decode()[:500]}")
            return {name.lower(): value for name, value in response.getheaders()}, data
        finally:
            connection.close()


@contextmanager
def running_origin(
    *datasets: Dataset, settings: Settings | None = None, tape_pages: int = DEFAULT_PAGES, port: int = 0
) -> Iterator[Origin]:
    """Start an origin that serves `datasets`; `tape_pages` pages of distinct bytes stand behind all of them."""
    setup = Setup(settings=settings or Settings(), datasets=list(datasets), tape_pages=tape_pages, port=port)
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.origin"],
        cwd=_PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C ends it through this program, after the mounts that read from it
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(setup) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the origin did not start; it ended with status {process.wait(_DEADLINE_S)}")
            origin = Origin(int(line), process.pid, tape_pages)
            try:
                yield origin
            finally:
                origin.close()
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
