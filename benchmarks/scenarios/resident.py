"""How much memory a mountd worker takes beyond its budget, here under pressure and in all scenarios before."""

from contextlib import suppress
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.harness import Check, Result, megabytes_s
from benchmarks.readers import ReadJob
from benchmarks.scenarios.disk import filled, forget_pages

_BUDGET = "256MiB"
_SMALL_BUDGET = "64MiB"
_ALLOWED_MIB = 120.0
_TINY_READS = 16_384


def resident(bench: Bench) -> list[Result]:
    """Read files far larger than a small budget, then report the worst of everything that ran.

    Also a few KiB here and there of what the disk holds, which is looked at in runs of a MiB.
    """
    large = bench.datasets.random
    mountd = bench.mountd({"memory": _BUDGET})

    def sequential(path: Path) -> ReadJob:
        return ReadJob(kind="sequential", path=f"{path}/{large.pattern}")

    def random(path: Path) -> ReadJob:
        file = f"{path}/{large.pattern}"
        return ReadJob(kind="random", path=file, size=large.size, count=4096, workers=16, buffer=64 << 10)

    def tiny(path: Path) -> ReadJob:
        file = f"{path}/{large.pattern}"
        return ReadJob(kind="random", path=file, size=large.size, count=_TINY_READS, workers=16, buffer=4 << 10)

    with filled(bench, large) as cache:
        warm = bench.mountd({"memory": _SMALL_BUDGET, "cache-dir": str(cache)})
        forget = partial(forget_pages, [cache])
        attempts = {
            "sequential": bench.cold("resident", mountd, large, sequential, large.size),
            "random": bench.cold("resident", mountd, large, random, 4096 * (64 << 10)),
            "random 4 KiB from the disk": bench.cold(
                "4 KiB from the disk", warm, large, tiny, _TINY_READS * (4 << 10), before=forget
            ),
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
