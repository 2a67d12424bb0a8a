"""What the kernel lets its administrator set for a mount after it is made.

Read-ahead is written through sysfs, which needs root. So is, through fusectl, the number of requests under way where
INIT was libfuse's, which cannot ask for it. A refusal is no error: the mount works, slower, and `status` says so.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mountd.fuse import fusectl
from mountd.fuse.mount_table import MountEntry

READ_AHEAD_KIB = 4096
"""One stream through pyfuse3 reads 0.4 GB/s with the kernel's 128 KiB and 4 GB/s from 1 MiB on; 4 MiB keeps four
requests of 1 MiB, the protocol's largest, under way."""
MAX_BACKGROUND = 64
"""READ requests that the kernel may have under way for all readers together; its own default is 12, so that a dozen
reads that wait for the store hold up every other reader."""
CONGESTION = MAX_BACKGROUND * 3 // 4
"""From here on the kernel reads less ahead; the same share of the maximum as its defaults have."""

BDI = Path("/sys/class/bdi")


def tune(entry: MountEntry | None, *, background_set: bool) -> dict[str, str]:
    """Raise the limits of the mount `entry`; return what was set or why not, for people.

    `background_set`: INIT has told the kernel how many requests may be under way.
    """
    if entry is None:
        return {"read-ahead": "kernel default: the mount is not in the mount table"}
    minor = int(entry.device.partition(":")[2])
    read_ahead = BDI / entry.device / "read_ahead_kb"
    background = f"{MAX_BACKGROUND} requests"
    return {
        "read-ahead": _attempt(lambda: read_ahead.write_text(str(READ_AHEAD_KIB), "ascii"), f"{READ_AHEAD_KIB} KiB"),
        "max_background": background if background_set else _attempt(partial(_set_background, minor), background),
    }


def _set_background(minor: int) -> None:
    fusectl.write(minor, "max_background", MAX_BACKGROUND)
    fusectl.write(minor, "congestion_threshold", CONGESTION)


def _attempt(change: Callable[[], object], outcome: str) -> str:
    try:
        change()
    except OSError as error:
        return f"kernel default: {error.strerror or error}"
    return outcome
