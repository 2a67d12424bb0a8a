"""Reads of what the page cache holds: no READ may reach the daemon."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Bench, measure
from benchmarks.harness import Attempt, Check, Result, Series, megabytes_s, operations_s
from benchmarks.jobs import Sample, run_job
from benchmarks.mounts import Directory, Mounted
from benchmarks.origin.process import Dataset
from benchmarks.readers import ReadJob
from benchmarks.scenarios.cold import READERS

_REPEAT_FACTOR = 3  # one read takes a moment only
_CHUNK = 8 << 20

MakeJob = Callable[[Path], ReadJob]


def warm(bench: Bench) -> list[Result]:
    """Read the large file, and the small files, once more."""
    large, small = bench.datasets.large, bench.datasets.small
    names = [small.pattern.format(index=index, group=0) for index in range(small.count)]

    def large_job(path: Path) -> ReadJob:
        return ReadJob(kind="sequential", path=f"{path}/{large.pattern}")

    def small_job(path: Path) -> ReadJob:
        return ReadJob(kind="files", path=str(path), names=names, workers=READERS, buffer=128 << 10)

    seq = _warm(bench, "warm-seq", "warm sequential", large, large_job, "MB/s", megabytes_s)
    files = _warm(bench, "warm-small", "warm small files, 8 readers", small, small_job, "files/s", operations_s)
    _check_ratio(seq, "ext4", 0.9)
    _check_ratio(files, "fuse", 0.7)
    return [seq, files]


def _warm(
    bench: Bench,
    scenario: str,
    title: str,
    data: Dataset,
    make_job: MakeJob,
    unit: str,
    value: Callable[[Sample], float],
) -> Result:
    contenders = [Directory(_local_copy(bench, data)), bench.fuse(data), bench.mountd(), bench.rclone()]
    mounts: dict[str, Mounted] = {}
    found: list[Series] = []
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        for contender in contenders:
            try:
                mount = stack.enter_context(contender.mounted(data.container))
                bench.read(scenario, mount, make_job(mount.path))  # fills the page cache
                mounts[contender.name] = mount
            except Exception as error:  # noqa: BLE001 - reported in the result; the other contenders go on
                failures[contender.name] = f"{type(error).__name__}: {error}"
        before = _reads(mounts)
        attempts: dict[str, Attempt] = {
            name: lambda path=mount.path: run_job("benchmarks.readers", make_job(path))
            for name, mount in mounts.items()
        }
        found, more_failures = measure(attempts, bench.repeat * _REPEAT_FACTOR, unit, value)
        reached = _reads(mounts) - before
    result = Result(scenario=scenario, title=title, series=found, checks=[], failures=failures | more_failures)
    if "mountd" in mounts:
        result.checks.append(Check(what="READs that reached mountd", value=reached, relation="<=", target=0))
    return result


def _reads(mounts: dict[str, Mounted]) -> int:
    return mounts["mountd"].statistics()["reads"] if "mountd" in mounts else 0


def _local_copy(bench: Bench, data: Dataset) -> Path:
    """Write the data set's files to the local disk, once, and return the directory of all such copies."""
    copies = bench.scratch / "local"
    directory = copies / data.container
    if not directory.is_dir():
        directory.mkdir(parents=True)
        for index in range(data.count):
            key = data.pattern.format(index=index, group=0)
            with (directory / key).open("wb") as file:
                for start in range(0, data.size, _CHUNK):
                    file.write(bench.origin.expected(data.container, key, start, min(_CHUNK, data.size - start)))
    return copies


def _check_ratio(result: Result, baseline: str, least: float) -> None:
    mountd, other = result.series_named("mountd"), result.series_named(baseline)
    if mountd and other:
        ratio = mountd.median / other.median
        result.checks.append(Check(what=f"mountd / {baseline}", value=ratio, relation=">=", target=least))
