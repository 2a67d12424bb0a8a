"""Cold reads: one large file, and many small ones.

The limit is one of fetching and answering: mountd is held against it with its defaults, disk tier included, and in the
mode that does nothing else, `stream`.
"""

import msgspec

from benchmarks.bench import STREAMING, Bench, Fetcher, expected_names
from benchmarks.harness import Check, Result, Series, best, limit_of, megabytes_s, operations_s
from benchmarks.jobs import Sample
from benchmarks.readers import ReadJob

READERS = 8
SHORT_ROUNDS = 3
"""So many times as many rounds of what takes less than half a second: single ones differ by a third, and of a few
fetchers the best median of few rounds lies above what any of them reaches in the long run."""
FAR_MS = 15.0
TWO_IN_TURN = "two in turn"
_NEAR_CLIENTS: list[Fetcher] = [("raw", 2), ("raw", 4), ("raw", 16), ("obstore", 8)]
_FAR_CLIENTS: list[Fetcher] = [("raw", 16), ("raw", 32), ("obstore", 16)]
_SMALL_CLIENTS: list[Fetcher] = [("raw", 2), ("raw", 4), ("raw", 8), ("obstore", 8), ("obstore", 16)]


def sequential(bench: Bench) -> list[Result]:
    """Read the large file once, from an origin without latency."""
    result = _sequential(bench, "seq512", "cold sequential, 0 ms", _NEAR_CLIENTS, rounds=SHORT_ROUNDS)
    _check_ratios(result, of_limit=0.75, of_rclone=1.7)
    return [result]


def sequential_far(bench: Bench) -> list[Result]:
    """The same at 15 ms for each request."""
    bench.origin.control(latency_ms=FAR_MS)
    result = _sequential(bench, "seq512-15ms", "cold sequential, 15 ms", _FAR_CLIENTS, rounds=SHORT_ROUNDS)
    _check_ratios(result, of_limit=0.75, of_rclone=1.7)
    return [result]


def sequential_paced(bench: Bench) -> list[Result]:
    """The same with 60 MB/s for each connection and 400 MB/s in all."""
    bench.origin.control(connection_bytes_s=60e6, total_bytes_s=400e6)
    title = "cold sequential, 60 MB/s a connection, 400 MB/s in all"
    result = _sequential(bench, "seq512-paced", title, [("raw", 16)])
    _check(result, "mountd", 360.0, unit="MB/s")
    return [result]


def _sequential(bench: Bench, scenario: str, title: str, fetchers: list[Fetcher], *, rounds: int = 1) -> Result:
    data = bench.datasets.large

    def job(path: object) -> ReadJob:
        return ReadJob(kind="sequential", path=f"{path}/{data.pattern}")

    contenders = [bench.fuse(data), bench.mountd_streaming(), bench.mountd(), bench.rclone()]
    attempts = {
        **dict(zip(expected_names(fetchers), (bench.fetch(data, *fetcher) for fetcher in fetchers), strict=True)),
        **{one.name: bench.cold(scenario, one, data, job, data.size) for one in contenders},
    }
    found, failures = bench.measure(attempts, "MB/s", megabytes_s, repeat=bench.repeat * rounds)
    return Result(scenario=scenario, title=title, series=found, checks=[], failures=failures)


def small_files(bench: Bench) -> list[Result]:
    """Read many small files with 8 readers, from an origin without latency."""
    result = _small(bench, "small1000", "small files, 8 readers, 0 ms", _SMALL_CLIENTS, rounds=SHORT_ROUNDS)
    _check_ratios(result, of_limit=0.7, of_rclone=1.3)
    return [result]


def small_files_far(bench: Bench) -> list[Result]:
    """The same at 15 ms for each request: each reader can finish one file per request's time."""
    bench.origin.control(latency_ms=FAR_MS)
    result = _small(bench, "small1000-15ms", "small files, 8 readers, 15 ms", [("raw", READERS)])
    _check(result, "mountd", 0.9 * READERS / (FAR_MS / 1000), unit="files/s")
    return [result]


def _small(bench: Bench, scenario: str, title: str, fetchers: list[Fetcher], *, rounds: int = 1) -> Result:
    data = bench.datasets.small
    names = [data.pattern.format(index=index, group=0) for index in range(data.count)]

    def job(path: object) -> ReadJob:
        return ReadJob(kind="files", path=str(path), names=names, workers=READERS, buffer=128 << 10)

    contenders = [bench.fuse(data), bench.mountd_streaming(), bench.mountd(), bench.rclone()]
    attempts = {
        **dict(zip(expected_names(fetchers), (bench.fetch(data, *fetcher) for fetcher in fetchers), strict=True)),
        **{one.name: bench.cold(scenario, one, data, job, data.size * data.count) for one in contenders},
    }
    found, failures = bench.measure(attempts, "files/s", operations_s, repeat=bench.repeat * rounds)
    return Result(scenario=scenario, title=title, series=found, checks=[], failures=failures)


def first_byte(bench: Bench) -> list[Result]:
    """Open a file that nothing is known of and read its first byte: how many requests follow on each other?

    Measured as the time at 15 ms for each request less the time at 0 ms, in requests: what one takes is half of what
    two in turn take the plainest client, a little more than 15 ms.
    """
    data = bench.datasets.large

    def job(path: object) -> ReadJob:
        return ReadJob(kind="first_byte", path=f"{path}/{data.pattern}")

    def milliseconds(sample: Sample) -> float:
        return sample.seconds * 1000

    contenders = [bench.mountd(), bench.rclone()]
    attempts = {one.name: bench.cold("first-byte", one, data, job, 1) for one in contenders}
    attempts[TWO_IN_TURN] = bench.fetch(msgspec.structs.replace(data, count=2, size=1), "raw", 1)
    repeat = bench.repeat * 2  # short, and a difference of two times
    near, failures = bench.measure(attempts, "ms", milliseconds, repeat=repeat)
    bench.origin.control(latency_ms=FAR_MS)
    far, more_failures = bench.measure(attempts, "ms", milliseconds, repeat=repeat)
    base = {one.name: one.median for one in near}
    waited = {one.name: one.median - base.get(one.name, 0.0) for one in far}
    request_ms = waited.get(TWO_IN_TURN, 2 * FAR_MS) / 2
    for one in far:
        one.extra["at_0ms"] = base.get(one.name, 0.0)
        one.extra["round_trips"] = waited[one.name] / request_ms
    result = Result(
        scenario="first-byte", title="first byte of a cold mount, 15 ms", series=far, checks=[],
        failures=failures | more_failures,
    )  # fmt: skip
    if mountd := result.series_named("mountd"):
        # a tenth of a request, 1.5 ms, is what waking up the processes involved may take
        trips = Check(what="requests one after the other", value=mountd.extra["round_trips"], relation="<=", target=2.1)
        result.checks.append(trips)
    return [result]


def _check(result: Result, name: str, least: float, *, unit: str) -> None:
    if found := result.series_named(name):
        result.checks.append(Check(what=name, value=found.median, relation=">=", target=least, unit=unit))


def _check_ratios(result: Result, *, of_limit: float, of_rclone: float) -> None:
    fetch, fuse, streaming, mountd, rclone = (
        result.series_named(name) for name in ("fetch", "fuse", STREAMING, "mountd", "rclone")
    )
    if fetch and fuse:
        _add_limit(result, "limit", fetch, fuse)
        for one in (streaming, mountd):
            if one:
                value = one.median / limit_of(fetch.median, fuse.median)
                result.checks.append(Check(what=f"{one.name} / limit", value=value, relation=">=", target=of_limit))
        # that of the fastest client which, as a cache has to, keeps what it gets
        clients = [series for series in result.series if series.name.startswith("fetch obstore")]
        if clients:
            _add_limit(result, "limit of obstore", best(clients), fuse)
    if mountd:
        value = mountd.median / rclone.median if rclone else 0.0  # not measured is not reached
        result.checks.append(Check(what="mountd / rclone", value=value, relation=">=", target=of_rclone))


def _add_limit(result: Result, name: str, fetch: Series, fuse: Series) -> None:
    """Add a limit, and what each mountd reached of it."""
    limit = limit_of(fetch.median, fuse.median)
    mounts = (result.series_named(name) for name in (STREAMING, "mountd"))
    reached = {one.name.replace(" ", "_"): one.median / limit for one in mounts if one}
    result.series.append(Series(name=name, unit=fetch.unit, values=[limit], extra=reached))
