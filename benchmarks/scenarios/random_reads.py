"""Random reads in one large file: how much is fetched for what is asked, and how fast it comes."""

from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.harness import Check, Result, operations_s
from benchmarks.origin.process import Dataset
from benchmarks.readers import ReadJob
from benchmarks.scenarios.cold import FAR_MS


def random64k(bench: Bench) -> list[Result]:
    """16 readers, 64 KiB each time, aligned as database and shard readers do, at 15 ms for each request."""
    result = _random(bench, "random64k", bench.datasets.random, buffer=64 << 10, count=1024, workers=16)
    if mountd := result.series_named("mountd"):
        ratio = mountd.extra["amplification"]
        result.checks.append(Check(what="bytes fetched / asked", value=ratio, relation="<=", target=2.5))
    return [result]


def random4k(bench: Bench) -> list[Result]:
    """One reader, 50 times 4 KiB."""
    result = _random(bench, "random4k", bench.datasets.random4k, buffer=4 << 10, count=50, workers=1)
    if mountd := result.series_named("mountd"):
        fetched = mountd.extra["fetched"] / (1 << 20)
        result.checks.append(Check(what="fetched", value=fetched, relation="<=", target=8.0, unit="MiB"))
    return [result]


def _random(bench: Bench, scenario: str, data: Dataset, *, buffer: int, count: int, workers: int) -> Result:
    bench.origin.control(latency_ms=FAR_MS)

    def job(path: Path) -> ReadJob:
        file = f"{path}/{data.pattern}"
        return ReadJob(kind="random", path=file, size=data.size, count=count, workers=workers, buffer=buffer)

    contenders = [bench.mountd(), bench.rclone()]
    attempts = {one.name: bench.cold(scenario, one, data, job, count * buffer) for one in contenders}
    found, failures = bench.measure(attempts, "reads/s", operations_s)
    for one in found:
        one.extra["amplification"] = one.extra["fetched"] / (count * buffer)
    title = f"random {buffer >> 10} KiB in {data.size >> 20} MiB, {workers} readers, 15 ms"
    return Result(scenario=scenario, title=title, series=found, checks=[], failures=failures)
