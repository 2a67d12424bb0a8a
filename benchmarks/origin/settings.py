"""What can be set at an origin: speed, faults and data sets; and what it counts."""

import random
from typing import Any, Literal

import msgspec

from benchmarks.origin.tape import DEFAULT_PAGES

Operation = Literal["list", "get", "head", "container", "put", "block", "commit", "delete", "other"]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to fail. It strikes every `every`-th request it matches, or each with `probability`."""

    kind: Literal["status", "reset", "truncate", "stall", "etag"]
    """status: answer `status`. reset, truncate: break or end the connection after the fraction `at` of the body.
    stall: send nothing for `seconds` (0: ever) after that fraction; at 0 not even the head. etag: a wrong ETag."""
    every: int = 0
    probability: float = 0.0
    limit: int = 0
    """Strikes at most so often; 0 is no limit."""
    operations: list[Operation] = []
    """Matches only these; empty is all."""
    key_prefix: str = ""
    status: int = 503
    retry_after_s: int | None = None
    seconds: float = 0.0
    at: float = 0.5


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the origin behaves from the next request on."""

    latency_ms: float = 0.0
    """Between a request's arrival and the first byte of its answer."""
    connection_bytes_s: float = 0.0
    """Body bytes per second on one connection; 0 is no limit."""
    total_bytes_s: float = 0.0
    """Body bytes per second over all connections; 0 is no limit."""
    faults: list[Fault] = []
    seed: int = 0
    """For `Fault.probability`."""
    record: bool = False
    """Keep the last 100,000 requests, to be read through the control URL."""


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`count` generated objects of `size` bytes; `pattern` sees `index` and `group` (index // group_size)."""

    container: str
    count: int = 1
    size: int
    pattern: str = "{index:06d}.bin"
    group_size: int = 1000


class Name(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One object."""

    container: str
    key: str


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a POST to the control URL; done in this order."""

    settings: dict[str, Any] = {}
    """Fields of `Settings`; the ones left out keep their values."""
    datasets: list[Dataset] = []
    replace: list[Name] = []
    """Generated objects that get a new version: other bytes, the same size and time."""
    reset_counters: bool = False


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an origin starts with."""

    settings: Settings = Settings()
    datasets: list[Dataset] = []
    tape_pages: int = DEFAULT_PAGES
    port: int = 0
    """0: any free one."""


class Counters(msgspec.Struct, kw_only=True):
    """Since the start or the last reset. Requests to the control URL do not count."""

    requests: dict[str, int] = {}
    """By operation."""
    statuses: dict[str, int] = {}
    faults: dict[str, int] = {}
    """Strikes by kind."""
    bytes_sent: int = 0
    """Of bodies, handed to the kernel."""
    bytes_received: int = 0
    """Of bodies."""
    connections: int = 0
    """Accepted."""
    open_connections: int = 0
    max_connections: int = 0
    in_flight: int = 0
    max_in_flight: int = 0

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.requests.values())


class FaultPlan:
    """Decides which request fails how; the same requests in the same order fail the same way."""

    def __init__(self, settings: Settings) -> None:
        self._rules = [(fault, [0, 0]) for fault in settings.faults]
        self._random = random.Random(settings.seed)

    def strike(self, operation: Operation, key: str) -> Fault | None:
        """Return the fault that this request meets, if any; the first rule wins."""
        for fault, counts in self._rules:
            if fault.operations and operation not in fault.operations:
                continue
            if not key.startswith(fault.key_prefix):
                continue
            counts[0] += 1
            struck = (fault.every and counts[0] % fault.every == 0) or self._random.random() < fault.probability
            if struck and not (fault.limit and counts[1] >= fault.limit):
                counts[1] += 1
                return fault
        return None
