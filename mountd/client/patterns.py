"""The PATTERNs of `mountd prefetch` as people and their shells write them.

`./x`, `d//x`, `d/` and `/mnt/data/d/x` name what they would name anywhere else. Nothing below the mount point is looked
at: what a mount shows is asked for over the control socket only.
"""

import posixpath
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import PurePosixPath

EVERYTHING = "*"


def below_mount(patterns: Iterable[str], mountpoint: str, real: Callable[[str], str]) -> list[str]:
    """Return `patterns` as paths below `mountpoint`; what leads elsewhere stays as it is, and matches nothing.

    Args:
        patterns: relative to the mount point, or absolute.
        mountpoint: absolute and real.
        real: returns an absolute path with links resolved, without touching what is mounted there.
    """
    real = cache(real)  # a shell may have made thousands of one `*`
    return [_below(pattern, mountpoint, real) if pattern else pattern for pattern in patterns]


def _below(pattern: str, mountpoint: str, real: Callable[[str], str]) -> str:
    path = PurePosixPath(posixpath.normpath(pattern).replace("//", "/"))
    if path.is_absolute():
        # From the top, so that the mount point is met before what is below it.
        above = next((one for one in reversed([path, *path.parents]) if real(str(one)) == mountpoint), None)
        if above is None:
            return pattern
        path = path.relative_to(above)
    return str(path) if path.parts else EVERYTHING
