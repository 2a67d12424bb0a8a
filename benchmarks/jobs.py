"""Run one timed piece of work in a fresh process: a job as JSON in, one sample as JSON out.

Readers and fetchers are such programs, so that neither shares an interpreter with the rest of the benchmark and the
start of Python is never inside a measurement.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks.disturbance import Window

PROJECT = Path(__file__).resolve().parents[1]


class Sample(msgspec.Struct, kw_only=True):
    """One measurement."""

    seconds: float
    bytes: int = 0
    operations: int = 0
    """Files, reads, entries: whatever the job counts."""
    extra: dict[str, float] = {}
    others: float = 0.0
    """Processors that strangers kept busy meanwhile."""


class JobError(RuntimeError):
    """A job failed; the message is the last line it wrote."""


def run_job(module: str, job: msgspec.Struct, *, companions: Iterable[int] = (), deadline_s: float = 300.0) -> Sample:
    """Run `python -m MODULE` on `job` and return its sample; `companions` are the processes that it keeps busy."""
    command = [sys.executable, "-m", module]
    window = Window(companions)
    finished = subprocess.run(
        command, cwd=PROJECT, input=msgspec.json.encode(job), capture_output=True, timeout=deadline_s, check=False
    )
    if finished.returncode:
        lines = finished.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise JobError(f"{module}: {lines[-1]}")
    sample = msgspec.json.decode(finished.stdout, type=Sample)
    sample.others = window.others()
    return sample
