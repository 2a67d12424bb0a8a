"""A directory of 20,000 files: its listing, and a stat of each afterwards."""

from benchmarks.bench import Bench
from benchmarks.harness import Attempt, Check, Result
from benchmarks.jobs import Sample, run_job
from benchmarks.list_store import ListJob
from benchmarks.mounts import Contender
from benchmarks.readers import ReadJob
from benchmarks.scenarios.cold import FAR_MS, SHORT_ROUNDS


def listing(bench: Bench) -> list[Result]:
    """List through mounts and with the store's own pages, at 15 ms for each request."""
    bench.origin.control(latency_ms=FAR_MS)
    data = bench.datasets.listing
    url = bench.origin.container_url(data.container)
    run_job("benchmarks.list_store", ListJob(url=url))  # the origin renders each page once

    def through(contender: Contender) -> Attempt:
        def attempt() -> Sample:
            with contender.mounted(data.container) as mount:
                sample = bench.read("list20000", mount, ReadJob(kind="list", path=str(mount.path)))
                if sample.operations != data.count:
                    raise RuntimeError(f"listed {sample.operations} names of {data.count}")
                stats = bench.read("list20000", mount, ReadJob(kind="stat", path=str(mount.path)))
                sample.extra |= {"stat_requests": stats.extra["requests"], "stat_s": stats.seconds}
                return sample

        return attempt

    attempts = {
        "store": lambda: run_job("benchmarks.list_store", ListJob(url=url), companions=[bench.origin.pid]),
        **{one.name: through(one) for one in (bench.mountd(), bench.rclone())},
    }
    found, failures = bench.measure(attempts, "s", lambda sample: sample.seconds, repeat=bench.repeat * SHORT_ROUNDS)
    title = f"listing {data.count:,} entries, 15 ms"
    result = Result(scenario="list20000", title=title, series=found, checks=[], failures=failures)
    mountd, store = result.series_named("mountd"), result.series_named("store")
    if mountd and store:
        ratio = mountd.median / store.median
        result.checks.append(Check(what="mountd / store's own list", value=ratio, relation="<=", target=1.3))
        asked = mountd.most["stat_requests"]
        result.checks.append(Check(what="requests for all stats", value=asked, relation="<=", target=0))
    return [result]
