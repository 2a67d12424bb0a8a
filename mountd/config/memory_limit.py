"""How much memory a mount may use when nobody says: a share of what this node, or this container, has.

Reads `/proc` and the control groups' files below `root`, so that tests can lay out their own.
"""

from pathlib import Path

from mountd.units import GIB, MIB

SMALLEST_DEFAULT = 256 * MIB
LARGEST_DEFAULT = 2 * GIB
_SHARE = 0.25
_V2 = "sys/fs/cgroup"
_V1 = "sys/fs/cgroup/memory"


def default_memory(root: Path = Path("/")) -> int:
    """Return the default budget in bytes: 25 % of RAM or of the control group's limit, within 256 MiB and 2 GiB."""
    limits = [*_ram(root), *_cgroup_limits(root)]
    share = int(min(limits) * _SHARE) if limits else SMALLEST_DEFAULT
    return max(SMALLEST_DEFAULT, min(LARGEST_DEFAULT, share))


def _ram(root: Path) -> list[int]:
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name == "MemTotal" and fields and fields[0].isdigit():
            return [int(fields[0]) * 1024]
    return []


def _cgroup_limits(root: Path) -> list[int]:
    """Return every limit from this process's group up to the root of what it sees: the smallest one counts."""
    limits = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers == "":
            base, name = root / _V2, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / _V1, "memory.limit_in_bytes"
        else:
            continue
        # Inside a container the path may be the host's, of which only the root is seen: then only `base` has a file.
        group = base / path.lstrip("/")
        for directory in [group, *group.parents]:
            if not directory.is_relative_to(base):
                break
            text = _read(directory / name).strip()
            if text.isdigit():  # v2 says `max` for none, v1 a number beyond any RAM
                limits.append(int(text))
    return limits


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
