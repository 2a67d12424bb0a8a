"""What the scenarios share: the origin with its data sets, the contenders, and how one of them is measured."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.disturbance import wait_until_quiet
from benchmarks.fetch import Client, FetchJob
from benchmarks.harness import QUIET, Attempt, Series, best, in_turn, series
from benchmarks.jobs import JobError, Sample, run_job
from benchmarks.mounts import Contender, Memory, Mountd, Mounted, Rclone
from benchmarks.origin.process import Dataset, Origin
from benchmarks.readers import ReadJob

MIB = 1 << 20

STREAMING = "mountd streaming"

Fetcher = tuple[Client, int]
"""Client and number of connections."""


@dataclass(frozen=True)
class Datasets:
    """What the origin holds."""

    large: Dataset
    small: Dataset
    random: Dataset
    random4k: Dataset
    listing: Dataset

    @staticmethod
    def of_size(*, quick: bool) -> "Datasets":
        """Return the issue's data sets, or quarter-sized ones to try things out."""
        part = 4 if quick else 1
        return Datasets(
            large=Dataset(container="large", pattern="large.bin", size=512 * MIB // part),
            small=Dataset(container="small", pattern="{index:05d}.jpg", count=1000 // part, size=110_000),
            random=Dataset(container="random", pattern="random.bin", size=1024 * MIB // part),
            random4k=Dataset(container="random4k", pattern="random.bin", size=64 * MIB),
            listing=Dataset(container="listing", pattern="{index:06d}.jpg", count=20_000 // part, size=1000),
        )

    def all(self) -> list[Dataset]:
        """Return every data set."""
        return [self.large, self.small, self.random, self.random4k, self.listing]


@dataclass
class Peak:
    """The most memory that one mountd worker had resident."""

    scenario: str
    resident: int
    budget: int

    @property
    def excess_mib(self) -> float:
        """What lies above the budget, in MiB."""
        return (self.resident - self.budget) / MIB


@dataclass
class Bench:
    """One run."""

    origin: Origin
    datasets: Datasets
    scratch: Path
    repeat: int
    patience_s: float
    """How long to wait for a quiet machine before each measurement, in seconds."""
    quiet: float = QUIET
    """How many processors others may keep busy during a measurement that counts."""
    peaks: list[Peak] = field(default_factory=list)

    def mountd(self, options: Mapping[str, str] | None = None, *, name: str = "mountd") -> Mountd:
        """Return mountd with more options than the defaults."""
        return Mountd(self.origin.url, self.scratch, options=options, name=name)

    def mountd_streaming(self) -> Mountd:
        """Return mountd without the disk tier: what it fetches is kept in memory alone."""
        return self.mountd({"mode": "stream"}, name=STREAMING)

    def rclone(self) -> Rclone:
        """Return rclone."""
        return Rclone(self.origin.url, self.scratch)

    def fuse(self, dataset: Dataset) -> Memory:
        """Return the fuse ceiling, showing `dataset`."""
        return Memory(dataset, self.scratch)

    def fetch(self, dataset: Dataset, client: Client, connections: int, *, port: int = 0) -> Attempt:
        """Return one try at the fetch ceiling, of the origin or of another server on this machine."""
        names = [dataset.pattern.format(index=index, group=0) for index in range(dataset.count)]
        job = FetchJob(
            client=client, port=port or self.origin.port, account=self.origin.account, key=self.origin.key,
            container=dataset.container, names=names, size=dataset.size, connections=connections,
        )  # fmt: skip
        return lambda: run_job("benchmarks.fetch", job, companions=[self.origin.pid])

    def cold(
        self,
        scenario: str,
        contender: Contender,
        dataset: Dataset,
        job: Callable[[Path], ReadJob],
        expected_bytes: int,
        *,
        before: Callable[[], None] = lambda: None,
    ) -> Attempt:
        """Return a try that mounts afresh, calls `before`, runs a reader, and checks what it read."""

        def attempt() -> Sample:
            with contender.mounted(dataset.container) as mount:
                before()
                sample = self.read(scenario, mount, job(mount.path))
                self.check(sample, expected_bytes, mount, dataset)
                return sample

        return attempt

    def read(self, scenario: str, mount: Mounted, job: ReadJob) -> Sample:
        """Run a reader on `mount`; the sample's extras tell what it cost mount and origin."""
        self.origin.reset()
        processor = mount.cpu_seconds()
        sample = run_job("benchmarks.readers", job, companions={self.origin.pid, mount.pid} - {os.getpid()})
        counters = self.origin.counters()
        sample.extra |= {
            "mount_cpu_s": mount.cpu_seconds() - processor,
            "requests": counters.total,
            "gets": counters.requests.get("get", 0),
            "fetched": counters.bytes_sent,
            "connections": counters.max_connections,
        }
        if mount.pid != os.getpid():
            sample.extra["resident_mib"] = mount.peak_bytes() / MIB
        self.note_peak(scenario, mount)
        return sample

    def note_peak(self, scenario: str, mount: Mounted) -> None:
        """Take note of the memory that a mountd worker has had."""
        if limit := mount.statistics().get("memory_limit"):
            self.peaks.append(Peak(scenario, mount.peak_bytes(), limit))

    def measure(
        self, attempts: Mapping[str, Attempt], unit: str, value: Callable[[Sample], float], *, repeat: int = 0
    ) -> tuple[list[Series], dict[str, str]]:
        """Measure all `attempts` in turn; the best of those named `fetch …` becomes the series `fetch`."""
        before_each = partial(wait_until_quiet, self.quiet, self.patience_s)
        samples, failures = in_turn(attempts, repeat or self.repeat, quiet=self.quiet, before_each=before_each)
        found = [series(name, unit, values, value) for name, values in samples.items()]
        clients = [one for one in found if one.name.startswith("fetch ")]
        if clients:
            top = best(clients)
            found.insert(0, Series(name="fetch", unit=unit, values=top.values, extra=top.extra))
        return found, failures

    def check(self, sample: Sample, expected_bytes: int, mount: Mounted, dataset: Dataset) -> None:
        """Compare how much was read, and a few ranges with what they must hold; a fast mount that is wrong is out."""
        if expected_bytes and sample.bytes != expected_bytes:
            raise JobError(f"read {sample.bytes} bytes of {expected_bytes}")
        for index in {0, dataset.count // 2, dataset.count - 1}:
            key = dataset.pattern.format(index=index, group=0)
            with (mount.path / key).open("rb", buffering=0) as file:
                for start in (0, dataset.size // 2 + 1, max(0, dataset.size - 5000)):
                    length = min(10_000, dataset.size - start)
                    file.seek(start)
                    if file.read(length) != self.origin.expected(dataset.container, key, start, length):
                        raise JobError(f"wrong bytes at {start} of {key}")


def expected_names(fetchers: Sequence[Fetcher]) -> list[str]:
    """Return the names that `Bench.measure` knows the tries of `fetchers` by."""
    return [f"fetch {client} x{connections}" for client, connections in fetchers]
