"""Reads of what the page cache holds: no READ may reach the daemon."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.harness import Attempt, Check, Result, megabytes_s, operations_s
from benchmarks.jobs import Sample, run_job
from benchmarks.mounts import Contender, Directory, MountdPassthrough, Mounted, MountError
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

    passthrough = MountdPassthrough(bench.origin.url, bench.scratch)
    seq = _warm(bench, "warm-seq", "warm sequential", large, large_job, "MB/s", megabytes_s, [passthrough])
    files = _warm(bench, "warm-small", "warm small files, 8 readers", small, small_job, "files/s", operations_s)
    _check_ratio(seq, "ext4", 0.9)
    _check_ratio(seq, "ext4", 0.9, contender=passthrough.name)
    _check_ratio(seq, "fuse", 0.8)  # what is left to a daemon, where the kernel's FUSE is slower than its ext4
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
    more: Sequence[Contender] = (),
) -> Result:
    contenders = [Directory(local_copy(bench, data)), bench.fuse(data), bench.mountd(), *more, bench.rclone()]
    mounts: dict[str, Mounted] = {}
    failures: dict[str, str] = {}
    reached: list[int] = []
    with ExitStack() as stack:
        for contender in contenders:
            try:
                mounts[contender.name] = stack.enter_context(contender.mounted(data.container))
            except MountError as error:
                failures[contender.name] = str(error)
        pids = {mount.pid for mount in mounts.values()} - {os.getpid()}

        def again(name: str, mount: Mounted) -> Attempt:
            def attempt() -> Sample:
                bench.read(scenario, mount, make_job(mount.path))  # the kernel may have dropped pages since the last
                before = mount.statistics().get("reads", 0)
                sample = run_job("benchmarks.readers", make_job(mount.path), companions=pids)
                sample.extra["reads_reached"] = mount.statistics().get("reads", 0) - before
                bench.note_peak(scenario, mount)
                bench.check(sample, data.size * data.count, mount, data)
                if name == "mountd":
                    reached.append(int(sample.extra["reads_reached"]))
                return sample

            return attempt

        attempts = {name: again(name, mount) for name, mount in mounts.items()}
        found, more_failures = bench.measure(attempts, unit, value, repeat=bench.repeat * _REPEAT_FACTOR)
    result = Result(scenario=scenario, title=title, series=found, checks=[], failures=failures | more_failures)
    if result.series_named("mountd"):
        # the least: where the kernel drops pages by itself within seconds, a few come again in some rounds
        what = "READs that reached mountd"
        result.checks.append(Check(what=what, value=min(reached), relation="<=", target=0))
    return result


def local_copy(bench: Bench, data: Dataset) -> Path:
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


def _check_ratio(result: Result, baseline: str, least: float, *, contender: str = "mountd") -> None:
    mountd, other = result.series_named(contender), result.series_named(baseline)
    if mountd and other:
        ratio = mountd.median / other.median
        result.checks.append(Check(what=f"{contender} / {baseline}", value=ratio, relation=">=", target=least))
