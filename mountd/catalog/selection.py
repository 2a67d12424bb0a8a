"""Which files of a dataset: the first few, a sample, a part of a split, those that meet a condition. Pure.

Steps run one after the other over the files in the order in which the sources list them. What is drawn depends on the
seed and on each file's place alone, so the two parts of one split share no file and miss none.
"""

import operator
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from mountd.errors import UsageError

COLUMNS = ("Size", "LastModifiedTime", "CreationTime", "Extension", "CanSeek")
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Take(msgspec.Struct, frozen=True, tag="take", forbid_unknown_fields=True):
    """The first `count`."""

    count: int


class Skip(msgspec.Struct, frozen=True, tag="skip", forbid_unknown_fields=True):
    """All but the first `count`."""

    count: int


class Sample(msgspec.Struct, frozen=True, tag="sample", forbid_unknown_fields=True):
    """Each with this probability."""

    probability: float
    seed: int


class Part(msgspec.Struct, frozen=True, tag="part", forbid_unknown_fields=True):
    """Those that are drawn between `start` and `stop`, of 0 to 1."""

    start: float
    stop: float
    seed: int


class Filter(msgspec.Struct, frozen=True, tag="filter", forbid_unknown_fields=True):
    """Those that meet a condition.

    `["and", E, E]`, `["or", E, E]`, `["not", E]`, or a comparison: `["<", "Size", 1000]`. Times are ISO 8601 texts.
    """

    expression: list[Any]


Step = Take | Skip | Sample | Part | Filter


class Candidate(NamedTuple):
    """A file that may be one of the dataset's."""

    path: str
    source: int
    size: int
    mtime_ns: int
    etag: str


def select(files: Iterable[Candidate], steps: Sequence[Step]) -> Iterator[Candidate]:
    """Yield those of `files` that pass all `steps`.

    Raises:
        UsageError: a step makes no sense.
    """
    chosen = iter(files)
    for step in steps:
        chosen = _apply(step, chosen)
    return chosen


def check_steps(steps: Sequence[Step]) -> None:
    """See that the steps make sense.

    Raises:
        UsageError: one does not.
    """
    for _ in select([], steps):
        raise AssertionError("nothing comes out of nothing")


def _apply(step: Step, files: Iterator[Candidate]) -> Iterator[Candidate]:
    match step:
        case Take(count=count) | Skip(count=count):
            if count < 0:
                raise UsageError(f"a dataset cannot take or skip {count} files")
            return islice(files, count) if isinstance(step, Take) else islice(files, count, None)
        case Sample(probability=probability, seed=seed):
            return _drawn(files, 0.0, probability, seed)
        case Part(start=start, stop=stop, seed=seed):
            return _drawn(files, start, stop, seed)
        case Filter(expression=expression):
            return filter(_condition(expression), files)


def _drawn(files: Iterator[Candidate], start: float, stop: float, seed: int) -> Iterator[Candidate]:
    if not 0 <= start <= stop <= 1:
        raise UsageError(f"{start:g} to {stop:g} is no part of a dataset; give numbers from 0 to 1")
    draw = random.Random(seed).random  # noqa: S311 - a sample, not a secret
    return (file for file in files if start <= draw() < stop)


def _condition(expression: object) -> Callable[[Candidate], bool]:
    match expression:
        case ["and", first, second]:
            one, other = _condition(first), _condition(second)
            return lambda file: one(file) and other(file)
        case ["or", first, second]:
            one, other = _condition(first), _condition(second)
            return lambda file: one(file) or other(file)
        case ["not", inner]:
            negated = _condition(inner)
            return lambda file: not negated(file)
        case [str(sign), str(column), value] if sign in _COMPARISONS and column in COLUMNS:
            return _comparison(_COMPARISONS[sign], column, value)
    raise UsageError(
        f"{expression!r} is no condition on files; compare one of {', '.join(COLUMNS)}, and join with and, or, not"
    )


def _comparison(compare: Callable[[Any, Any], Any], column: str, value: object) -> Callable[[Candidate], bool]:
    if column == "Size" and isinstance(value, int | float):
        return lambda file: bool(compare(file.size, value))
    if column == "CanSeek" and isinstance(value, bool):
        seekable = bool(compare(True, value))  # every file here is
        return lambda _: seekable
    if column == "Extension" and isinstance(value, str):
        return lambda file: bool(compare(_extension(file.path), value))
    if column in {"LastModifiedTime", "CreationTime"} and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise UsageError(f"{value!r} is not a time; write for example 2026-01-31T12:00:00+00:00") from None
        moment_ns = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e9
        return lambda file: bool(compare(file.mtime_ns, moment_ns))
    raise UsageError(f"{column} cannot be compared with {value!r}")


def _extension(path: str) -> str:
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return dot + extension if stem else ""
