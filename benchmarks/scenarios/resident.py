"""How much memory a mountd worker takes beyond its budget, here under pressure and in all scenarios before."""

from contextlib import suppress
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.harness import Check, Result, megabytes_s
from benchmarks.readers import ReadJob

_BUDGET = "256MiB"
_ALLOWED_MIB = 120.0


def resident(bench: Bench) -> list[Result]:
    """Read files far larger than a small budget, then report the worst of everything that ran."""
    large = bench.datasets.random
    mountd = bench.mountd({"memory": _BUDGET})

    def sequential(path: Path) -> ReadJob:
        return ReadJob(kind="sequential", path=f"{path}/{large.pattern}")

    def random(path: Path) -> ReadJob:
        file = f"{path}/{large.pattern}"
        return ReadJob(kind="random", path=file, size=large.size, count=4096, workers=16, buffer=64 << 10)

    attempts = {
        "sequential": bench.cold("resident", mountd, large, sequential, large.size),
        "random": bench.cold("resident", mountd, large, random, 4096 * (64 << 10)),
    }
    found, failures = bench.measure(attempts, "MB/s", megabytes_s)
    title = f"resident memory: with a budget of {_BUDGET}, and in all scenarios"
    result = Result(scenario="resident", title=title, series=found, checks=[], failures=failures)
    with suppress(ValueError):
        worst = max(bench.peaks, key=lambda peak: peak.excess_mib)
        what = f"beyond the budget (worst: {worst.scenario})"
        check = Check(what=what, value=worst.excess_mib, relation="<=", target=_ALLOWED_MIB, unit="MiB")
        result.checks.append(check)
    return [result]
