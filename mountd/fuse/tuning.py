"""What the kernel lets its administrator set for a mount after it is made.

Read-ahead is written through sysfs, which needs root. So is, through fusectl, the number of requests under way where
INIT was libfuse's, which cannot ask for it. A refusal is no error: the mount works, slower, and `status` says so.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mountd.fuse import fusectl
from mountd.fuse.mount_table import MountEntry
from mountd.fuse.protocol import LARGEST_REQUEST
from mountd.units import KIB

READS_AHEAD = 4
"""READs that the kernel sends ahead of a stream. One through pyfuse3 reads 0.4 GB/s with the kernel's 128 KiB, 4 GB/s
from 1 MiB on; this keeps four requests of 1 MiB, the protocol's largest, under way."""
SMALLEST_READ = 128 * KIB
"""What the kernel sends unless it is told more."""
MAX_BACKGROUND = 64
"""READ requests that the kernel may have under way for all readers together; its own default is 12, so that a dozen
reads that wait for the store hold up every other reader."""
CONGESTION = MAX_BACKGROUND * 3 // 4
"""From here on the kernel reads less ahead; the same share of the maximum as its defaults have."""

BDI = Path("/sys/class/bdi")


class ReadSizes(NamedTuple):
    """How much the kernel reads at once, in bytes."""

    request: int
    """The largest READ."""
    ahead: int
    """All that is read ahead of a stream."""


def read_sizes(memory_bytes: int) -> ReadSizes:
    """Return what a mount with `memory_bytes` for its cache bears.

    What a READ waits for may have to be joined, in memory that no budget knows; with 64 of 1 MiB under way, those of a
    mount with 16 MiB took four times as much.
    """
    request = LARGEST_REQUEST
    while request > SMALLEST_READ and request * MAX_BACKGROUND > memory_bytes:
        request //= 2
    return ReadSizes(request, READS_AHEAD * request)


def tune(entry: MountEntry | None, *, background_set: bool, read_ahead: int) -> dict[str, str]:
    """Raise the limits of the mount `entry`; return what was set or why not, for people.

    `background_set`: INIT has told the kernel how many requests may be under way. `read_ahead` is in bytes.
    """
    if entry is None:
        return {"read-ahead": "kernel default: the mount is not in the mount table"}
    minor = int(entry.device.partition(":")[2])
    setting = BDI / entry.device / "read_ahead_kb"
    ahead_kib = read_ahead // KIB
    background = f"{MAX_BACKGROUND} requests"
    return {
        "read-ahead": _attempt(lambda: setting.write_text(str(ahead_kib), "ascii"), f"{ahead_kib} KiB"),
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
