"""How much memory a mount may use when nobody says: a share of what this node, or this container, has.

Reads `/proc` and the control groups' files below `root`, so that tests can lay out their own.
"""

from pathlib import Path

from mountd.config.control_groups import groups_of, text_of
from mountd.units import GIB, MIB

SMALLEST_DEFAULT = 256 * MIB
LARGEST_DEFAULT = 2 * GIB
_SHARE = 0.25


def default_memory(root: Path = Path("/")) -> int:
    """Return the default budget in bytes: 25 % of RAM or of the control group's limit, within 256 MiB and 2 GiB."""
    limits = [*_ram(root), *_cgroup_limits(root)]
    share = int(min(limits) * _SHARE) if limits else SMALLEST_DEFAULT
    return max(SMALLEST_DEFAULT, min(LARGEST_DEFAULT, share))


def _ram(root: Path) -> list[int]:
    for line in text_of(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name == "MemTotal" and fields and fields[0].isdigit():
            return [int(fields[0]) * 1024]
    return []


def _cgroup_limits(root: Path) -> list[int]:
    """Return every limit from this process's group up to the root of what it sees: the smallest one counts."""
    limits = []
    for directory, is_v2 in groups_of("memory", root):
        text = text_of(directory / ("memory.max" if is_v2 else "memory.limit_in_bytes")).strip()
        if text.isdigit():  # v2 says `max` for none, v1 a number beyond any RAM
            limits.append(int(text))
    return limits
