"""What `mountd runs` prints: plain columns for people, and the same facts for JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from mountd.catalog.workspace import Workspace
from mountd.cli.render import table
from mountd.run.metrics import as_json, latest, read_metrics, read_tags
from mountd.run.record import DataRecord, RunRecord, log_path, runs_directory
from mountd.transfer.report import printable
from mountd.units import format_duration

_COMMAND_SHOWN = 60


def run_table(records: Sequence[RunRecord], now: float) -> str:
    """Return one line per run; `now` is in seconds since 1970."""
    if not records:
        return "no runs yet"
    rows = [
        [
            record.id,
            f"{record.status} (killed)" if record.killed else record.status,
            "" if record.exit_code is None else str(record.exit_code),
            _time(record.created),
            _duration(record, now),
            record.display_name or _short(record.command),
        ]
        for record in records
    ]
    return table(["RUN", "STATUS", "EXIT", "CREATED", "DURATION", "WHAT"], rows)


def run_block(workspace: Workspace, record: RunRecord, now: float) -> str:
    """Return all that is known of one run, a line for each fact."""
    directory = runs_directory(workspace) / record.id
    lines = [
        ("status", record.status if record.exit_code is None else f"{record.status}, exit status {record.exit_code}"),
        ("error", record.error),
        ("experiment", record.experiment),
        ("name", record.display_name),
        ("description", record.description),
        ("command", record.command),
        ("created", _time(record.created)),
        ("duration", _duration(record, now)),
        ("process", None if record.pid is None else f"{record.pid} on {record.host}"),
        *((f"input {item.name}", _data(item, "from")) for item in record.inputs),
        *((f"output {item.name}", _data(item, "to")) for item in record.outputs),
        *((f"tag {name}", value) for name, value in {**record.tags, **read_tags(directory)}.items()),
    ]
    metrics = read_metrics(directory)
    counts = Counter(metric.name for metric in metrics)
    for name, last in latest(metrics).items():
        many = f" (the last of {counts[name]})" if counts[name] > 1 else ""
        lines.append((f"metric {name}", json.dumps(last.value, ensure_ascii=False) + many))
    lines += [("log", str(log_path(directory))), ("directory", str(directory))]
    # A script may have named its metrics and tags anything.
    shown = [(printable(name), printable(text)) for name, text in lines if text]
    width = max(len(name) for name, _ in shown)
    return "\n".join([record.id, *(f"  {name.ljust(width)}  {text}" for name, text in shown)])


def as_plain(workspace: Workspace, record: RunRecord) -> dict[str, Any]:
    """Return all that is known of one run as values for JSON; the keys are those of `RunRecord` and four more."""
    directory = runs_directory(workspace) / record.id
    plain: dict[str, Any] = msgspec.to_builtins(record)
    plain["tags"] = {**record.tags, **read_tags(directory)}
    plain["metrics"] = as_json(read_metrics(directory))
    plain["duration_s"] = record.duration_s(record.created) if record.ended is None else record.duration_s(record.ended)
    plain["log"] = str(log_path(directory))
    plain["directory"] = str(directory)
    return plain


def _data(item: DataRecord, preposition: str) -> str:
    if item.mode in {"value", "direct"}:
        return f"{item.place} ({item.mode})"
    where = "" if item.path is None else f" at {item.path}"
    return f"{item.mode}{where} {preposition} {item.place}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _duration(record: RunRecord, now: float) -> str:
    seconds = record.duration_s(now)
    return "" if seconds is None else format_duration(seconds)


def _short(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= _COMMAND_SHOWN else line[: _COMMAND_SHOWN - 1] + "…"
