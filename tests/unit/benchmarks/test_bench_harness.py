"""Rounds, medians, targets and their report."""

import json

import pytest

from benchmarks import report
from benchmarks.harness import QUIET, Check, Result, Series, best, in_turn, limit_of, series
from benchmarks.jobs import Sample


def sample(seconds: float, others: float = 0.0, **extra: float) -> Sample:
    return Sample(seconds=seconds, bytes=1000, operations=1, extra=extra, others=others)


def test_contenders_take_turns_so_that_a_busy_moment_hits_all() -> None:
    order: list[str] = []

    def attempt(name: str) -> Sample:
        order.append(name)
        return sample(1.0)

    found, failures = in_turn({name: lambda name=name: attempt(name) for name in ("a", "b")}, 3)

    assert order == ["a", "b"] * 3
    assert [len(samples) for samples in found.values()] == [3, 3]
    assert failures == {}


def test_disturbed_samples_are_taken_again_and_the_least_disturbed_count() -> None:
    loads = iter([1.0, 0.0, 1.5, 0.1, 0.0, 9.0])
    calls = {"busy": 0, "calm": 0}

    def busy() -> Sample:
        calls["busy"] += 1
        load = next(loads)
        return sample(load, others=load)

    def calm() -> Sample:
        calls["calm"] += 1
        return sample(1.0)

    found, _ = in_turn({"busy": busy, "calm": calm}, 3)

    assert calls == {"busy": 5, "calm": 3}
    assert [one.others for one in found["busy"]] == [0.0, 0.0, 0.1]


def test_patience_with_a_machine_that_is_never_quiet_ends() -> None:
    calls = 0

    def attempt() -> Sample:
        nonlocal calls
        calls += 1
        return sample(1.0, others=QUIET * 2 + calls)

    found, _ = in_turn({"a": attempt}, 2)

    assert calls == 8
    assert [one.others for one in found["a"]] == [QUIET * 2 + 1, QUIET * 2 + 2]


def test_a_contender_that_fails_is_reported_and_the_others_go_on() -> None:
    def broken() -> Sample:
        raise RuntimeError("no such mount")

    found, failures = in_turn({"broken": broken, "fine": lambda: sample(1.0)}, 2)

    assert list(found) == ["fine"]
    assert failures == {"broken": "RuntimeError: no such mount"}


def test_a_series_has_the_median_of_its_samples_and_of_what_else_was_measured() -> None:
    made = series(
        "m", "s", [sample(1, n=5), sample(9, n=7, only_here=1), sample(2, others=0.3, n=6)], lambda one: one.seconds
    )

    assert (made.median, made.spread) == (2, 2.0)
    assert made.extra == {"n": 6, "only_here": 1, "others": 0.3}
    assert made.most == {"n": 7, "only_here": 1}
    assert best([made, Series(name="x", unit="s", values=[3])]).name == "x"


@pytest.mark.parametrize(("rates", "limit"), [((2.0, 2.0), 1.0), ((3.0, 6.0), 2.0), ((5.0,), 5.0)])
def test_the_limit_of_stages_that_share_the_cores(rates: tuple[float, ...], limit: float) -> None:
    assert limit_of(*rates) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("value", "relation", "met"), [(0.75, ">=", True), (0.74, ">=", False), (0.75, "<=", True), (0.76, "<=", False)]
)
def test_a_target_is_met_on_its_right_side(value: float, relation: str, met: bool) -> None:
    assert Check(what="w", value=value, relation=relation, target=0.75).met is met


def test_table_and_json_say_what_was_reached_and_what_was_not() -> None:
    checks = [
        Check(what="mountd / limit", value=0.8, relation=">=", target=0.75),
        Check(what="mountd", value=100, relation=">=", target=480, unit="files/s"),
    ]
    found = [Series(name="mountd", unit="MB/s", values=[1, 2, 4])]
    result = Result(scenario="s", title="cold", series=found, checks=checks, failures={"rclone": "no mount"})

    table = report.table([result])
    decoded = json.loads(report.as_json([result], report.surroundings({"repeat": 3})))
    terminal = "\n".join(report.lines(result))

    assert "| cold | mountd / limit | 0.80 | >= 0.75  | pass |" in table
    assert "| cold | mountd | 100 files/s | >= 480 files/s | **below** |" in table
    assert decoded["results"][0]["series"][0]["median"] == 2
    assert [check["met"] for check in decoded["results"][0]["checks"]] == [True, False]
    assert {"commit", "date", "cores", "kernel", "options"} <= decoded["surroundings"].keys()
    assert "rclone             failed: no mount" in terminal
    assert "MISS  mountd: 100 files/s (>= 480)" in terminal


@pytest.mark.parametrize(
    ("value", "failures", "reached"),
    [
        (2.0, {}, True),
        (0.5, {}, False),
        (2.0, {"rclone": "not installed"}, True),
        (2.0, {"mountd": "wrong bytes"}, False),
        (2.0, {"fetch raw x2": "refused"}, False),
    ],
)
def test_a_contender_that_failed_has_reached_nothing(value: float, failures: dict[str, str], reached: bool) -> None:
    check = Check(what="w", value=value, relation=">=", target=1.0)
    assert Result(scenario="s", title="t", series=[], checks=[check], failures=failures).reached is reached
    assert Result(scenario="s", title="t", series=[], checks=[], failures={"mountd": "wrong bytes"}).reached is False
