"""What the kernel lets its administrator set for a mount after it is made.

pyfuse3 can ask for none of it at mount time (INIT is libfuse's). Read-ahead is written through sysfs, the number of
requests under way through fusectl; both need root. A refusal is no error: the mount works, slower, and `status` says
so.
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


def tune(entry: MountEntry | None) -> dict[str, str]:
    """Raise the limits of the mount `entry`; return what was set or why not, for people."""
    if entry is None:
        return {"read-ahead": "kernel default: the mount is not in the mount table"}
    minor = int(entry.device.partition(":")[2])
    read_ahead = BDI / entry.device / "read_ahead_kb"
    return {
        "read-ahead": _attempt(lambda: read_ahead.write_text(str(READ_AHEAD_KIB), "ascii"), f"{READ_AHEAD_KIB} KiB"),
        "max_background": _attempt(partial(_set_background, minor), f"{MAX_BACKGROUND} requests"),
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
