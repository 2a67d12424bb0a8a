"""The disk cache: a second cold mount of what it holds, what it costs a cold reader, and its index."""

import os
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.bench import Bench
from benchmarks.harness import Check, Result, Series, limit_of, megabytes_s, operations_s
from benchmarks.jobs import Sample
from benchmarks.mounts import Contender, Directory, Mountd
from benchmarks.origin.process import Dataset
from benchmarks.readers import ReadJob
from benchmarks.scenarios.cold import FAR_MS, READERS
from benchmarks.scenarios.warm import local_copy
from mountd.cache.disk import entry as entries
from mountd.cache.disk.disk_cache import DiskCache
from mountd.cache.disk.entry import Run
from mountd.cache.disk.journal import Journal
from mountd.cache.disk.layout import digest_of
from mountd.cache.disk.room import CacheLimits
from mountd.cache.disk.state import State
from mountd.cache.version import ObjectVersion
from mountd.units import ETag

_OBJECTS = 100_000


def second_mount(bench: Bench) -> list[Result]:
    """Mount what the disk cache holds, and read it from the disk: the page cache is emptied of it before."""
    large, small = bench.datasets.large, bench.datasets.small
    names = [small.pattern.format(index=index, group=0) for index in range(small.count)]

    def large_job(path: Path) -> ReadJob:
        return ReadJob(kind="sequential", path=f"{path}/{large.pattern}")

    def small_job(path: Path) -> ReadJob:
        return ReadJob(kind="files", path=str(path), names=names, workers=READERS, buffer=128 << 10)

    seq = _second(bench, "disk-seq", "second mount: sequential from the disk", large, large_job, "MB/s", megabytes_s)
    files = _second(
        bench, "disk-small", "second mount: small files from the disk, 8 readers", small, small_job, "files/s",
        operations_s, of_fuse=True,
    )  # fmt: skip
    return [seq, files]


def _second(
    bench: Bench,
    scenario: str,
    title: str,
    data: Dataset,
    job: Callable[[Path], ReadJob],
    unit: str,
    value: Callable[[Sample], float],
    *,
    of_fuse: bool = False,
) -> Result:
    copies = local_copy(bench, data)
    total = data.size * data.count
    with filled(bench, data) as cache:
        contenders: list[Contender] = [Directory(copies), bench.mountd({"cache-dir": str(cache)})]
        contenders += [bench.fuse(data)] if of_fuse else []
        forget = partial(forget_pages, [copies / data.container, cache])
        attempts = {one.name: bench.cold(scenario, one, data, job, total, before=forget) for one in contenders}
        found, failures = bench.measure(attempts, unit, value)
    result = Result(scenario=scenario, title=title, series=found, checks=[], failures=failures)
    ext4, fuse, mountd = (result.series_named(name) for name in ("ext4", "fuse", "mountd"))
    if ext4 and mountd:
        limit = ext4.median if fuse is None else limit_of(ext4.median, fuse.median)
        if fuse:
            result.series.append(Series(name="limit", unit=unit, values=[limit]))
        what = "mountd / limit" if fuse else "mountd / ext4"
        result.checks.append(Check(what=what, value=mountd.median / limit, relation=">=", target=0.6))
    if mountd:
        result.checks.append(Check(what="requests for data", value=mountd.most["gets"], relation="<=", target=0))
    return result


def beside_readers(bench: Bench) -> list[Result]:
    """Read the large file once with the disk tier and without it."""
    data = bench.datasets.large
    results = []
    for latency_ms in (0.0, FAR_MS):
        bench.origin.control(latency_ms=latency_ms)

        def job(path: Path) -> ReadJob:
            return ReadJob(kind="sequential", path=f"{path}/{data.pattern}")

        scenario = f"disk-beside-{latency_ms:.0f}ms"
        tries = {"with the tier": bench.mountd(), "without": bench.mountd({"mode": "stream"})}
        attempts = {name: bench.cold(scenario, one, data, job, data.size) for name, one in tries.items()}
        # A ratio near 1 of two noisy figures: more rounds than elsewhere.
        found, failures = bench.measure(attempts, "MB/s", megabytes_s, repeat=2 * bench.repeat)
        title = f"cold sequential beside the disk tier, {latency_ms:.0f} ms"
        result = Result(scenario=scenario, title=title, series=found, checks=[], failures=failures)
        tier, stream = result.series_named("with the tier"), result.series_named("without")
        if tier and stream:
            ratio = tier.median / stream.median
            result.checks.append(Check(what="with / without", value=ratio, relation=">=", target=0.9))
        results.append(result)
    return results


def index(bench: Bench) -> list[Result]:
    """Open a cache of 100,000 objects: how soon it is there, and what memory it takes."""
    with tempfile.TemporaryDirectory(dir=bench.scratch) as directory:
        _make_index(Path(directory))
        samples, taken = [], []
        for _ in range(bench.repeat):
            began = perf_counter()
            _open(directory).close()
            samples.append(perf_counter() - began)
        tracemalloc.start()
        cache = _open(directory)
        taken.append(tracemalloc.get_traced_memory()[0] / _OBJECTS)
        tracemalloc.stop()
        cache.close()
    series = [Series(name="ready", unit="s", values=samples), Series(name="memory", unit="B/object", values=taken)]
    checks = [
        Check(what="ready", value=series[0].median, relation="<=", target=5.0, unit="s"),
        Check(what="memory of an object", value=taken[0], relation="<=", target=200.0, unit="B"),
    ]
    return [Result(scenario="disk-index", title="a disk cache of 100,000 objects", series=series, checks=checks)]


def _make_index(directory: Path) -> None:
    cache = _open(directory)
    totals = cache.totals()
    cache.close()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    state = State.first(totals.standing.free, 1 << 40, boot, inherits=False)
    for number in range(_OBJECTS):
        version = ObjectVersion(f"{number:06}.jpg", ETag('"1"'), 110_000)
        entry = entries.with_runs(entries.new(version.size), [Run(0, version.size, number)])
        state.objects[digest_of("store", version.key, version)] = entries.with_disk(entry, 110_592)
    journal = Journal(directory / "journal")
    journal.replace(state.snapshot())
    journal.close()


def _open(directory: str | Path) -> DiskCache:
    return DiskCache(directory, lambda key: ("store", key), CacheLimits(reserve=0))


@contextmanager
def filled(bench: Bench, data: Dataset) -> Iterator[Path]:
    """Give a cache directory that holds all of `data`, safe on the disk."""
    with tempfile.TemporaryDirectory(dir=bench.scratch) as directory:
        cache = Path(directory) / "cache"
        options = {"cache-dir": str(cache), "mode": "download"}
        with Mountd(bench.origin.url, bench.scratch, options=options).mounted(data.container):
            pass
        os.sync()
        yield cache


def forget_pages(directories: list[Path]) -> None:
    """Have the kernel drop the pages of all files in `directories`."""
    for directory in directories:
        for path in directory.rglob("*"):
            if path.is_file():
                descriptor = os.open(path, os.O_RDONLY)
                os.fdatasync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
