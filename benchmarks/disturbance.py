"""How much of the machine others used during a measurement.

On a shared machine a number means little without this. Kernel threads count as nobody's: they work for whoever reads
and writes. The clock ticks are coarse (10 ms), which is fine for windows of tenths of a second.
"""

import os
import resource
from collections.abc import Iterable
from pathlib import Path
from threading import Event
from time import monotonic

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_KERNEL_PARENT = 2  # kthreadd
_LOOK_S = 0.3


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used; 0 once it is gone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * _TICK_S if fields else 0.0


class Window:
    """From construction on; `companions` are processes of ours that are not children waited for."""

    def __init__(self, companions: Iterable[int] = ()) -> None:
        self._companions = tuple(companions)
        self._began = monotonic()
        self._busy, self._ours, self._kernel = self._measure()

    def others(self) -> float:
        """Return how many processors others kept busy on average since the window opened."""
        busy, ours, kernel = self._measure()
        foreign = (busy - self._busy) - (ours - self._ours) - (kernel - self._kernel)
        return max(0.0, foreign / (monotonic() - self._began))

    def _measure(self) -> tuple[float, float, float]:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        user, nice, system, _idle, _wait, interrupt, soft, stolen = map(int, fields[1:9])
        busy = (user + nice + system + interrupt + soft + stolen) * _TICK_S
        own = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = sum(usage.ru_utime + usage.ru_stime for usage in own) + sum(map(cpu_seconds, self._companions))
        return busy, ours, _kernel_threads()


def wait_until_quiet(limit: float, patience_s: float) -> None:
    """Return when others keep fewer than `limit` processors busy, or after `patience_s` seconds."""
    deadline, pause = monotonic() + patience_s, Event()
    while monotonic() < deadline:
        window = Window()
        pause.wait(_LOOK_S)
        if window.others() <= limit:
            return


def _kernel_threads() -> float:
    total = 0.0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[1]) == _KERNEL_PARENT:
                total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
