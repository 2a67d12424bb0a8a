"""Metrics and tags that a command gives its run, as lines of JSON in the run's directory.

```
metrics.jsonl   {"name": "loss", "value": 0.25, "step": 3, "time": 1764290000.1, "kind": "scalar"}
tags.jsonl      {"tag": "stage", "value": "final", "time": 1764290000.2}
```

A line is appended by one write, so that many processes of a command may write at once; a line that was cut off by a
full disk or a kill is skipped. Blocking; imports neither trio nor storage.
"""

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
    step: int | None = None
    kind: str = "scalar"
    """`scalar`, `list`, `row`, `table` or another word of the writer's."""


class _Tag(msgspec.Struct, frozen=True, kw_only=True):
    tag: str
    value: str
    time: float


def append_metric(directory: Path, name: str, value: object, *, step: int | None = None, kind: str = "scalar") -> None:
    """Add a value of the metric `name` to the run in `directory`.

    Raises:
        UsageError: `value` cannot be written as JSON.
        MountdError: the file system refused.
    """
    metric = Metric(name=name, value=value, time=time.time(), step=step, kind=kind)
    try:
        line = msgspec.json.encode(metric)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"metric {name!r}: the value cannot be kept: {error}") from None
    _append(directory / METRICS, line)


def read_metrics(directory: Path) -> list[Metric]:
    """Return all metrics of the run in `directory`, in the order in which they were written."""
    return _lines(directory / METRICS, Metric)


def append_tag(directory: Path, tag: str, value: str) -> None:
    """Set the tag `tag` of the run in `directory`.

    Raises:
        MountdError: the file system refused.
    """
    _append(directory / TAGS, msgspec.json.encode(_Tag(tag=tag, value=value, time=time.time())))


def read_tags(directory: Path) -> dict[str, str]:
    """Return the tags that were set on the run in `directory`, the last value of each."""
    return {line.tag: line.value for line in _lines(directory / TAGS, _Tag)}


def latest(metrics: list[Metric]) -> dict[str, Metric]:
    """Return the last value of each metric, by name, in order of first appearance."""
    found: dict[str, Metric] = {}
    for metric in metrics:
        found[metric.name] = metric
    return found


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
