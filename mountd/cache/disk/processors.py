"""How idle the processors are that this process may use: those of the machine, within its control groups' quota.

In a container with two processors of a machine with sixty-four, sixty-two that idle are nobody's time to spare: what is
used beyond the quota is taken from the readers, for the kernel then stops all of the group until its next period.
Reads memory, no disk.
"""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from mountd.config.control_groups import Group, groups_of, text_of


class Used(NamedTuple):
    """One control group with a quota."""

    allowed: float
    """Processors."""
    used_s: float
    """Processor time that all in it have used."""


class Load(NamedTuple):
    """What was used until a moment."""

    idle: int
    """Ticks since the machine started, of the processors that this process may run on, together."""
    total: int
    processors: int
    """How many these are."""
    groups: tuple[Used, ...] = ()

    @property
    def allowed(self) -> float:
        """How many processors this process may use at the most, together with whoever shares its control groups."""
        return min((float(self.processors), *(group.allowed for group in self.groups)))

    def idle_since(self, before: "Load", seconds: float) -> float:
        """Return how many processors idled, and might have been used, in the `seconds` since `before`."""
        of_machine = self.processors * (self.idle - before.idle) / (self.total - before.total)
        if len(self.groups) != len(before.groups):
            return 0.0  # a quota has come or gone: that is not known
        left = (
            now.allowed - (now.used_s - then.used_s) / seconds
            for now, then in zip(self.groups, before.groups, strict=True)
        )
        return min((of_machine, *left))


def load_reader(root: Path = Path("/"), usable: Collection[int] | None = None) -> Callable[[], Load | None]:
    """Return what reads the load; that returns None where the kernel does not tell it.

    Args:
        root: where `/proc` and `/sys` are looked for.
        usable: the numbers of the processors that this process may run on.
    """
    usable = os.sched_getaffinity(0) if usable is None else usable
    names = frozenset(f"cpu{number}" for number in usable)
    groups = list(groups_of("cpu", root))

    def read() -> Load | None:
        ticks = _ticks(text_of(root / "proc/stat"))
        if ticks.keys() >= names:  # else some are offline, or a container has numbers of its own for those it shows
            ticks = {name: ticks[name] for name in names}
        idle = sum(idle for idle, _ in ticks.values())
        total = sum(total for _, total in ticks.values())
        used = (_used(group, root) for group in groups)
        return Load(idle, total, len(ticks), tuple(one for one in used if one is not None)) if total else None

    return read


def _ticks(stat: str) -> dict[str, tuple[int, int]]:
    """Return idle and all ticks of each processor that `/proc/stat` tells of."""
    found = {}
    for line in stat.splitlines()[1:]:  # the first is of all together
        name, _, rest = line.partition(" ")
        if not name.startswith("cpu"):
            break  # what follows is long, and of something else
        fields = rest.split()[:8]
        if len(fields) >= 5 and all(field.isdigit() for field in fields):
            ticks = [int(field) for field in fields]
            found[name] = (ticks[3] + ticks[4], sum(ticks))
    return found


def _used(group: Group, root: Path) -> Used | None:
    """Return what a group may use and has used; None: it has no quota."""
    try:
        if group.is_v2:
            quota, period = text_of(group.directory / "cpu.max").split()
            used_us = dict(line.split() for line in text_of(group.directory / "cpu.stat").splitlines())["usage_usec"]
            return None if quota == "max" else Used(int(quota) / int(period), int(used_us) / 1e6)
        quota, period = (text_of(group.directory / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        used_ns = text_of(_accounts(group.directory, root) / "cpuacct.usage")
        return None if int(quota) < 0 else Used(int(quota) / int(period), int(used_ns) / 1e9)
    except (ValueError, KeyError, ZeroDivisionError):
        return None


def _accounts(directory: Path, root: Path) -> Path:
    """Return where the same group's use is told: version 1 has a controller of its own for it."""
    base = root / "sys/fs/cgroup"
    return base / "cpuacct" / directory.relative_to(base / "cpu")
