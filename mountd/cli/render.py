"""What `list` and `status` print for people: plain columns, never cut, so that they can be searched and piped."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mountd.observe.statistics import MountStatistics
from mountd.units import format_duration, format_size
from mountd.wire.messages import MountRecord


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return `rows` under `header` in columns as wide as they need to be."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def mount_table(records: Sequence[MountRecord], now: float) -> str:
    """Return one line per mount; `now` is in seconds since 1970."""
    if not records:
        return "nothing is mounted"
    rows = [
        [
            record.mountpoint or "?",
            _state(record),
            record.mode or "?",
            format_duration(max(0.0, now - record.since)),
            record.name,
            record.source or record.last_error or "?",
        ]
        for record in records
    ]
    return table(["MOUNTPOINT", "STATE", "MODE", "SINCE", "NAME", "SOURCE"], rows)


def status_blocks(records: Sequence[MountRecord], now: float) -> str:
    """Return a block of lines per mount."""
    if not records:
        return "nothing is mounted"
    return "\n\n".join(_block(record, now) for record in records)


def as_plain(records: Sequence[MountRecord]) -> list[dict[str, Any]]:
    """Return `records` as values for JSON; the keys are those of `MountRecord`."""
    return [{key: value for key, value in msgspec.to_builtins(record).items() if key != "kind"} for record in records]


def _state(record: MountRecord) -> str:
    return record.state if record.restarts == 0 else f"{record.state} ({record.restarts} restarts)"


def _block(record: MountRecord, now: float) -> str:
    lines: list[tuple[str, str]] = []
    if record.source:
        lines.append(("source", record.source))
    lines.append(("name", record.name))
    details = dict(record.details)
    if mode := details.pop("mode", record.mode):
        lines.append(("mode", mode))
    if record.statistics:
        lines += _statistics(msgspec.convert(record.statistics, MountStatistics))
    lines.append(("processes", _processes(record)))
    if record.restarts or record.last_error:
        lines.append(("trouble", f"{record.restarts} restarts; last: {record.last_error}"))
    lines += sorted(details.items())
    if record.log:
        lines.append(("log", record.log))
    width = max(len(name) for name, _ in lines)
    title = f"{record.mountpoint or record.name}  {record.state}, {format_duration(max(0.0, now - record.since))}"
    return "\n".join([title, *(f"  {name.ljust(width)}  {text}" for name, text in lines)])


def _statistics(numbers: MountStatistics) -> list[tuple[str, str]]:
    asked = numbers.cache_hits + numbers.cache_misses
    hits = f"{100 * numbers.cache_hits / asked:.0f} % of {asked} without waiting" if asked else "nothing read yet"
    used, limit, retries = format_size(numbers.memory_used), format_size(numbers.memory_limit), numbers.store_retries
    lines = [
        ("read", f"{format_size(numbers.bytes_read)} in {numbers.reads} requests"),
        ("fetched", _fetched(numbers)),
        ("hits", hits),
        ("memory", f"{used} of {limit}, peak {format_size(numbers.memory_peak)}"),
        *_disk(numbers),
        ("store", f"{numbers.store_requests} requests, {retries} tried again, {numbers.store_errors} failed"),
        ("files", _files(numbers)),
    ]
    notes = [
        (numbers.changed_objects, "replaced by others"),
        (numbers.hidden_names, "names that no path can express"),
        (numbers.handler_errors, "unexpected errors, see the log"),
    ]
    if said := ", ".join(f"{count} {what}" for count, what in notes if count):
        lines.append(("noted", said))
    lines += [("refused", f"{refused.path}: {refused.why}") for refused in numbers.refused]
    lines.append(("slow now", "; ".join(numbers.waiting_for) or "nothing"))
    return lines


def _fetched(numbers: MountStatistics) -> str:
    ratio = f", {numbers.bytes_fetched / numbers.bytes_read:.2f} of what was read" if numbers.bytes_read else ""
    return f"{format_size(numbers.bytes_fetched)} from the store{ratio}"


def _files(numbers: MountStatistics) -> str:
    passing = numbers.passthrough_handles
    return f"{numbers.inodes} known, {numbers.open_handles} open{f', {passing} by passthrough' if passing else ''}"


def _disk(numbers: MountStatistics) -> list[tuple[str, str]]:
    if not numbers.disk_limit:
        return []
    asked = numbers.disk_hits + numbers.disk_misses
    hits = f"{100 * numbers.disk_hits / asked:.0f} % of {asked} found" if asked else "not asked yet"
    full = f"{format_size(numbers.disk_used)} of {format_size(numbers.disk_limit)}, {numbers.disk_objects} objects"
    notes = [
        (numbers.disk_evictions, "evicted"),
        (numbers.disk_corrupt, "checksums wrong and fetched again"),
        (numbers.disk_errors, "errors"),
    ]
    said = "".join(f", {count} {what}" for count, what in notes if count)
    return [("disk cache", f"{full}; {hits}{said}")]


def _processes(record: MountRecord) -> str:
    parts = [f"supervisor {record.supervisor_pid}{' (private)' if record.private else ''}"]
    if record.worker_pid is not None:
        parts.append(f"worker {record.worker_pid}")
    return ", ".join(parts)
