"""Run a command and see that it leaves no process and no FUSE mount behind.

    leaving_nothing.py --limit SECONDS --below DIR -- COMMAND ARG…

Every process that descends from COMMAND ends up as a child of this one when its own parent ends (it is a "subreaper"),
daemons included; mounts count if their mount point is below DIR. What is left after a moment of grace is named and
ended, and the exit status is then 1. A command that takes longer than SECONDS is ended, and the exit status is 124;
before that it and the processes that it started itself, among which pytest shares the tests, get SIGABRT, by which
faulthandler prints where every thread is.
"""

import argparse
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 5.0


def living() -> tuple[dict[int, int], dict[int, str]]:
    """Return the parents of all processes that are alive, and their command lines."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, parent = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(directory.name)] = int(parent)
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                names[int(directory.name)] = command
    return parents, names


def descendants() -> dict[int, str]:
    """Return the processes below this one that are alive, and their command lines."""
    parents, names = living()
    ours = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= grown
    return {pid: names[pid] for pid in ours if pid in names and pid != os.getpid()}


def fuse_mounts(below: Path) -> list[str]:
    """Return the FUSE mount points below a directory."""
    lines = (line.split() for line in Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines())
    written = [point for _, point, kind, *_ in lines if kind.startswith("fuse")]
    points = [re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point) for point in written]
    return [point for point in points if Path(point).is_relative_to(below)]


def reap() -> None:
    """Collect the ended children that were adopted."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_all(below: Path) -> None:
    """End what is left, at once; a supervisor among it must not start a worker again in between."""
    until = time.monotonic() + GRACE_S  # one that hangs in the kernel does not end before its mount is gone
    while (pids := list(descendants())) and time.monotonic() < until:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        reap()
    for point in fuse_mounts(below):
        subprocess.run(["umount", "--lazy", point], check=False)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=float, required=True)
    parser.add_argument("--below", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    below = options.below.resolve()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")

    def stop(number: int, _frame: FrameType | None) -> None:
        end_all(below)
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    # Whatever a shell starts in the background ignores Ctrl-C, and so would all programs that the tests send it to.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    child = subprocess.Popen(options.command)
    try:
        status = child.wait(options.limit)
    except subprocess.TimeoutExpired:
        print(f"test: ended after {options.limit:.0f} s", file=sys.stderr)
        status = 124
        for pid in [child.pid, *(pid for pid, parent in living()[0].items() if parent == child.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    except KeyboardInterrupt:  # pytest got it too and prints its summary
        status = child.wait()

    patience = time.monotonic() + GRACE_S
    while (descendants() or fuse_mounts(below)) and time.monotonic() < patience:
        time.sleep(0.1)  # noqa: TID251 - a program of its own, without trio
        reap()
    processes, mounts = descendants(), fuse_mounts(below)
    for pid, command in processes.items():
        print(f"test: left running: {pid} {command}", file=sys.stderr)
    for point in mounts:
        print(f"test: left mounted: {point}", file=sys.stderr)
    end_all(below)
    return status or (1 if processes or mounts else 0)


sys.exit(main())
