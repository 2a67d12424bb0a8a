"""The large file and the small ones from the Azurite emulator: no targets, for it is the ceiling itself."""

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.azurite import running_azurite
from benchmarks.bench import Bench
from benchmarks.harness import Attempt, Result, megabytes_s, operations_s
from benchmarks.jobs import Sample, run_job
from benchmarks.mounts import Contender, Mountd, Rclone
from benchmarks.origin.process import Dataset, Origin
from benchmarks.readers import ReadJob
from benchmarks.scenarios.cold import READERS


def azurite(bench: Bench) -> list[Result]:
    """Read both data sets, cold, through mounts and with the fetch clients."""
    large, small = bench.datasets.large, bench.datasets.small
    names = [small.pattern.format(index=index, group=0) for index in range(small.count)]

    def large_job(path: Path) -> ReadJob:
        return ReadJob(kind="sequential", path=f"{path}/{large.pattern}")

    def small_job(path: Path) -> ReadJob:
        return ReadJob(kind="files", path=str(path), names=names, workers=READERS, buffer=128 << 10)

    with running_azurite(bench.origin, large, small) as port:
        url = f"http://127.0.0.1:{port}/{Origin.account}"
        contenders: list[Contender] = [Mountd(url, bench.scratch), Rclone(url, bench.scratch)]
        on_large = _attempts(bench, contenders, large, large_job, port)
        on_small = _attempts(bench, contenders, small, small_job, port)
        seq, seq_failures = bench.measure(on_large, "MB/s", megabytes_s)
        files, files_failures = bench.measure(on_small, "files/s", operations_s)
    return [
        Result(scenario="azurite-seq", title="Azurite: cold sequential", series=seq, checks=[], failures=seq_failures),
        Result(
            scenario="azurite-small", title="Azurite: small files", series=files, checks=[], failures=files_failures
        ),
    ]


def _attempts(
    bench: Bench, contenders: list[Contender], data: Dataset, job: Callable[[Path], ReadJob], port: int
) -> Mapping[str, Attempt]:
    def through(contender: Contender) -> Attempt:
        def attempt() -> Sample:
            with contender.mounted(data.container) as mount:
                sample = run_job("benchmarks.readers", job(mount.path), companions=[mount.pid])
                bench.note_peak("azurite", mount)
                bench.check(sample, data.size * data.count, mount, data)
                return sample

        return attempt

    fetch = bench.fetch(data, "obstore", READERS, port=port)
    return {f"fetch obstore x{READERS}": fetch, **{one.name: through(one) for one in contenders}}
