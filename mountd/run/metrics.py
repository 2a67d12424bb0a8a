"""Metrics and tags that a command gives its run, as lines of JSON in the run's directory.

```
metrics.jsonl   {"name": "loss", "value": 0.25, "step": 3, "time": 1764290000.1, "kind": "scalar"}
tags.jsonl      {"tag": "stage", "value": "final", "time": 1764290000.2}
```

JSON has no word for what is no finite number, and a loss that became NaN is what its reader must see: `NaN`, `Infinity`
and `-Infinity` are kept as texts, and read as numbers.

A line is appended by one write, so that many processes of a command may write at once; a line that was cut off by a
full disk or a kill is skipped. Blocking; imports neither trio nor storage.
"""

import math
import os
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mountd.catalog.atomic_files import file_errors
from mountd.errors import UsageError

T = TypeVar("T")

METRICS = "metrics.jsonl"
TAGS = "tags.jsonl"


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One value of one metric."""

    name: str
    value: Any
    time: float
    """Seconds since 1970."""
    step: int | float | None = None
    kind: str = "scalar"
    """`scalar`, `list`, `row`, `table` or another word of the writer's."""


class _Tag(msgspec.Struct, frozen=True, kw_only=True):
    tag: str
    value: str
    time: float


def append_metric(
    directory: Path, name: str, value: object, *, step: float | None = None, kind: str = "scalar"
) -> None:
    """Add a value of the metric `name` to the run in `directory`.

    Raises:
        UsageError: `value` cannot be written as JSON, or what could be written could not be read again.
        MountdError: the file system refused.
    """
    if not isinstance(name, str):
        raise UsageError(f"metric {name!r}: its name must be text")
    if step is not None and not isinstance(step, int | float):
        raise UsageError(f"metric {name!r}: its step must be a number, not {step!r}")
    metric = Metric(name=name, value=_spelt(value), time=time.time(), step=step, kind=kind)
    try:
        line = msgspec.json.encode(metric)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"metric {name!r}: the value cannot be kept: {error}") from None
    _append(directory / METRICS, line)


def read_metrics(directory: Path) -> list[Metric]:
    """Return all metrics of the run in `directory`, in the order in which they were written."""
    return [msgspec.structs.replace(line, value=_read(line.value)) for line in _lines(directory / METRICS, Metric)]


def append_tag(directory: Path, tag: str, value: str) -> None:
    """Set the tag `tag` of the run in `directory`.

    Raises:
        UsageError: it cannot be written as JSON.
        MountdError: the file system refused.
    """
    if not isinstance(tag, str):
        raise UsageError(f"tag {tag!r}: its name must be text")
    try:
        line = msgspec.json.encode(_Tag(tag=tag, value=value, time=time.time()))
    except ValueError as error:
        raise UsageError(f"tag {tag!r}: cannot be kept: {error}") from None
    _append(directory / TAGS, line)


def read_tags(directory: Path) -> dict[str, str]:
    """Return the tags that were set on the run in `directory`, the last value of each."""
    return {line.tag: line.value for line in _lines(directory / TAGS, _Tag)}


def as_json(metrics: list[Metric]) -> list[dict[str, Any]]:
    """Return `metrics` as values that JSON can hold."""
    return [msgspec.to_builtins(msgspec.structs.replace(metric, value=_spelt(metric.value))) for metric in metrics]


def latest(metrics: list[Metric]) -> dict[str, Metric]:
    """Return the last value of each metric, by name, in order of first appearance."""
    found: dict[str, Metric] = {}
    for metric in metrics:
        found[metric.name] = metric
    return found


_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _spelt(value: Any) -> Any:
    """Return `value` with numbers that are not finite as texts."""
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {key: _spelt(item) for key, item in value.items()}
        case list() | tuple():
            return [_spelt(item) for item in value]
    return value


def _read(value: Any) -> Any:
    """Return `value` as it was before `_spelt`."""
    match value:
        case str():
            return _NOT_FINITE.get(value, value)
        case dict():
            return {key: _read(item) for key, item in value.items()}
        case list():
            return [_read(item) for item in value]
    return value


def _append(path: Path, line: bytes) -> None:
    with file_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, line + b"\n") <= len(line):
                os.write(descriptor, b"\n")  # raises if the disk is full; else the next line stays readable
        finally:
            os.close(descriptor)


def _lines(path: Path, kind: type[T]) -> list[T]:
    try:
        data = path.read_bytes()
    except OSError:
        return []
    decoder = msgspec.json.Decoder(kind)
    found = []
    for line in data.splitlines():
        try:
            found.append(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return found
