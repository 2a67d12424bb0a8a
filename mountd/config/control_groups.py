"""Where the kernel tells of the control groups that this process is in.

Limits may be on a group or on any above it, up to the root of what is seen. Inside a container the path that
`/proc/self/cgroup` tells may be the host's, of which only the root is there: then the others simply have no files.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MOUNTED = "sys/fs/cgroup"


class Group(NamedTuple):
    """One control group, of one controller."""

    directory: Path
    is_v2: bool


def groups_of(controller: str, root: Path = Path("/")) -> Iterator[Group]:
    """Yield this process's group of `controller`, and those above it; files are looked for below `root`."""
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        is_v2 = controllers == ""
        if not is_v2 and controller not in controllers.split(","):
            continue
        base = root / _MOUNTED if is_v2 else root / _MOUNTED / controller
        group = base / path.lstrip("/")
        for directory in [group, *group.parents]:
            if not directory.is_relative_to(base):
                break
            yield Group(directory, is_v2)


def text_of(path: Path) -> str:
    """Return what is in a file of the kernel's; nothing if it is not there."""
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
