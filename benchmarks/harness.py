"""Measure several contenders in turn, so that a busy moment of the machine hits all of them alike.

Pure but for the calls it is given. A measurement is a rate or an amount; higher is better unless `lower_is_better`.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from benchmarks.jobs import Sample


class Series(msgspec.Struct, kw_only=True):
    """The values of one contender, one per repeat, in `unit`."""

    name: str
    unit: str
    values: list[float]
    extra: dict[str, float] = {}
    """Medians of what else was measured."""
    most: dict[str, float] = {}
    """The greatest of each: for what must not happen in any round."""

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half of what lies between the least and the greatest value, as a fraction of the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median if self.median else 0.0


class Check(msgspec.Struct, kw_only=True):
    """One target and whether it is met."""

    what: str
    value: float
    relation: Literal[">=", "<="]
    target: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the value is on the right side of the target."""
        return self.value >= self.target if self.relation == ">=" else self.value <= self.target


class Result(msgspec.Struct, kw_only=True):
    """What one scenario found."""

    scenario: str
    title: str
    series: list[Series]
    checks: list[Check]
    failures: dict[str, str] = {}
    """Contenders that could not be measured, and why."""

    @property
    def reached(self) -> bool:
        """Whether every target is met and none is missing because mountd, or what it is held against, failed.

        rclone need not be installed: a target that needs it is a check of its own, which then fails.
        """
        return all(check.met for check in self.checks) and not set(self.failures) - {"rclone"}

    def series_named(self, name: str) -> Series | None:
        """Return the series of a contender, None if it failed."""
        return next((series for series in self.series if series.name == name), None)


Attempt = Callable[[], Sample]

QUIET = 0.15
"""So many processors in the hands of others do not spoil a sample, unless told otherwise."""
_PATIENCE = 4  # rounds for each one that is wanted, while others are busy


def in_turn(
    attempts: Mapping[str, Attempt],
    repeat: int,
    *,
    quiet: float = QUIET,
    before_each: Callable[[], None] = lambda: None,
) -> tuple[dict[str, list[Sample]], dict[str, str]]:
    """Call every attempt `repeat` times, round after round; return the samples, and the failures by name.

    Where others kept more than `quiet` processors busy there are more rounds, up to `_PATIENCE` times as many; of each
    attempt the `repeat` least disturbed samples count. An attempt that raises is not called again.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in attempts}
    failures: dict[str, str] = {}
    for done in range(repeat * _PATIENCE):
        wanted = [name for name in attempts if name not in failures and _count_quiet(samples[name], quiet) < repeat]
        if done >= repeat and not wanted:
            break
        for name in wanted:
            before_each()
            try:
                samples[name].append(attempts[name]())
            except Exception as error:  # noqa: BLE001 - reported in the result; the other contenders go on
                failures[name] = f"{type(error).__name__}: {error}"
                samples[name].clear()
    chosen = {name: sorted(found, key=lambda sample: sample.others)[:repeat] for name, found in samples.items()}
    return {name: found for name, found in chosen.items() if found}, failures


def _count_quiet(samples: Sequence[Sample], quiet: float) -> int:
    return sum(sample.others <= quiet for sample in samples)


def series(name: str, unit: str, samples: Sequence[Sample], value: Callable[[Sample], float]) -> Series:
    """Return `value` of each sample under `name`, with the medians of their extras, and the greatest of each."""
    keys = sorted({key for sample in samples for key in sample.extra})
    found = {key: [sample.extra[key] for sample in samples if key in sample.extra] for key in keys}
    extra = {key: statistics.median(values) for key, values in found.items()}
    extra["others"] = max(sample.others for sample in samples)
    most = {key: max(values) for key, values in found.items()}
    return Series(name=name, unit=unit, values=[value(sample) for sample in samples], extra=extra, most=most)


def best(found: Sequence[Series]) -> Series:
    """Return the series with the greatest median."""
    return max(found, key=lambda one: one.median)


def limit_of(*rates: float) -> float:
    """Return the rate of stages that share the processors: 1 / (1/a + 1/b + …)."""
    return 1 / sum(1 / rate for rate in rates)


def megabytes_s(sample: Sample) -> float:
    """Return MB (10^6 bytes) per second."""
    return sample.bytes / sample.seconds / 1e6


def operations_s(sample: Sample) -> float:
    """Return operations per second."""
    return sample.operations / sample.seconds
