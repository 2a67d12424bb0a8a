"""What the kernel lets its administrator set for a mount after it is made.

pyfuse3 can ask for neither at mount time (INIT is libfuse's). Both are written through sysfs: read-ahead needs root,
max_background also a mounted fusectl. A refusal is no error: the mount works, slower, and `status` says so.
"""

from pathlib import Path

READ_AHEAD_KIB = 4096
"""One stream through pyfuse3 reads 0.4 GB/s with the kernel's 128 KiB and 4 GB/s from 1 MiB on; 4 MiB keeps four
requests of 1 MiB, the protocol's largest, under way."""
MAX_BACKGROUND = 64
"""Read-ahead requests the kernel may have under way; its own default is 12."""


def device_number(mountpoint: str) -> str | None:
    """Return `major:minor` of the mount at `mountpoint` from the mount table, without asking the mount."""
    found: str | None = None
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if _unescape(fields[4]) == mountpoint:
            found = fields[2]  # the last one is on top
    return found


def tune(mountpoint: str) -> dict[str, str]:
    """Raise read-ahead and max_background of the mount; return what was set or why not, for people."""
    number = device_number(mountpoint)
    if number is None:
        return {"read-ahead": "kernel default: the mount is not in the mount table"}
    minor = number.partition(":")[2]
    return {
        "read-ahead": _write(Path(f"/sys/class/bdi/{number}/read_ahead_kb"), READ_AHEAD_KIB, "KiB"),
        "max_background": _write(Path(f"/sys/fs/fuse/connections/{minor}/max_background"), MAX_BACKGROUND, "requests"),
    }


def _write(path: Path, value: int, unit: str) -> str:
    try:
        path.write_text(str(value), encoding="ascii")
    except FileNotFoundError:
        return "kernel default: not reachable here"
    except OSError as error:
        return f"kernel default: {error.strerror or error}"
    return f"{value} {unit}"


def _unescape(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
