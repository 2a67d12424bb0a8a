"""What a run found: a table for people, JSON for everything else."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.harness import Check, Result, Series
from benchmarks.jobs import PROJECT


def surroundings(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the numbers depend on: commit, date, machine, versions, options."""
    model = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "commit": _output("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": model[0] if model else "",
        "memory_mib": int(memory) // 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "rclone": _output("rclone", "version").partition("\n")[0],
        "load": os.getloadavg()[0],
        "options": options,
    }


def as_json(results: list[Result], around: dict[str, Any]) -> bytes:
    """Return the whole run, medians and verdicts included."""
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "surroundings": around,
                "results": [
                    {
                        **msgspec.to_builtins(result),
                        "series": [_with_median(series) for series in result.series],
                        "checks": [{**msgspec.to_builtins(check), "met": check.met} for check in result.checks],
                    }
                    for result in results
                ],
            }
        )
    )


def lines(result: Result) -> list[str]:
    """Return `result` for a terminal."""
    shown = [f"{result.scenario}: {result.title}"]
    for series in result.series:
        spread = f" ±{series.spread:4.0%}" if len(series.values) > 1 else "      "
        extra = "  ".join(f"{name} {_number(value)}" for name, value in series.extra.items())
        shown.append(f"  {series.name:<18} {_number(series.median):>9} {series.unit:<8}{spread}   {extra}".rstrip())
    shown += [f"  {name:<18} failed: {why}" for name, why in result.failures.items()]
    shown += [f"  {_verdict(check)}" for check in result.checks]
    return shown


def table(results: list[Result]) -> str:
    """Return every target with what was reached, as Markdown."""
    rows = ["| scenario | measured | reached | target | |", "|---|---|---|---|---|"]
    for result in results:
        for check in result.checks:
            reached, target = f"{_number(check.value)} {check.unit}", f"{check.relation} {_number(check.target)}"
            mark = "pass" if check.met else "**below**" if check.relation == ">=" else "**above**"
            rows.append(f"| {result.title} | {check.what} | {reached.strip()} | {target} {check.unit} | {mark} |")
    return "\n".join(rows)


def _verdict(check: Check) -> str:
    mark = "pass " if check.met else "MISS "
    return f"{mark} {check.what}: {_number(check.value)} {check.unit} ({check.relation} {_number(check.target)})"


def _with_median(series: Series) -> dict[str, Any]:
    return {**msgspec.to_builtins(series), "median": series.median, "spread": series.spread}


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.1f}M"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
