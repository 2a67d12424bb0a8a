"""Random reads in one large file: how much is fetched for what is asked, and how fast it comes."""

from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.harness import Check, Result, operations_s
from benchmarks.origin.process import Dataset
from benchmarks.readers import ReadJob
from benchmarks.scenarios.cold import FAR_MS


def random64k(bench: Bench) -> list[Result]:
    """16 readers, 64 KiB each time, at 15 ms for each request: aligned as database and shard readers do, and not."""
    results = []
    for scenario, grid in (("random64k", 64 << 10), ("random64k-anywhere", 1)):
        result = _random(bench, scenario, bench.datasets.random, buffer=64 << 10, count=1024, workers=16, grid=grid)
        if mountd := result.series_named("mountd"):
            ratio = mountd.most["fetched"] / (1024 * (64 << 10))
            result.checks.append(Check(what="bytes fetched / asked", value=ratio, relation="<=", target=2.5))
        results.append(result)
    return results


def random4k(bench: Bench) -> list[Result]:
    """One reader, 50 times 4 KiB."""
    result = _random(bench, "random4k", bench.datasets.random4k, buffer=4 << 10, count=50, workers=1, grid=4 << 10)
    if mountd := result.series_named("mountd"):
        fetched = mountd.most["fetched"] / (1 << 20)
        result.checks.append(Check(what="fetched", value=fetched, relation="<=", target=8.0, unit="MiB"))
    return [result]


def _random(bench: Bench, scenario: str, data: Dataset, *, buffer: int, count: int, workers: int, grid: int) -> Result:
    bench.origin.control(latency_ms=FAR_MS)

    def job(path: Path) -> ReadJob:
        file = f"{path}/{data.pattern}"
        return ReadJob(kind="random", path=file, size=data.size, count=count, workers=workers, buffer=buffer, grid=grid)

    contenders = [bench.mountd(), bench.rclone()]
    attempts = {one.name: bench.cold(scenario, one, data, job, count * buffer) for one in contenders}
    found, failures = bench.measure(attempts, "reads/s", operations_s)
    for one in found:
        one.extra["amplification"] = one.extra["fetched"] / (count * buffer)
    where = "" if grid > 1 else " at any byte"
    title = f"random {buffer >> 10} KiB{where} in {data.size >> 20} MiB, {workers} readers, 15 ms"
    return Result(scenario=scenario, title=title, series=found, checks=[], failures=failures)
