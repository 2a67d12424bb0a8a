"""Byte sizes, durations and the small value types every layer speaks.

Pure: imports nothing of ours and does no I/O. Sizes are bytes and durations seconds unless a name says otherwise.
"""

import re
from typing import NamedTuple, NewType

ETag = NewType("ETag", str)
"""A version of an object, exactly as the store writes it, quotes included (RFC 9110, 8.8.3)."""

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
MOST = 1 << 62
"""Bytes, the most that a size may be: sums of it fit in 64 bits."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b?)\s*", re.IGNORECASE)
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class ByteRange(NamedTuple):
    """The bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes the range holds."""
        return self.stop - self.start


def parse_size(text: str) -> int:
    """Return the bytes that `text` names: `512`, `10GB`, `1.5 GiB`, `64k`.

    A suffix with or without `i` counts in powers of 1024, as every mount tool does.

    Raises:
        ValueError: `text` is not a size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 512MiB, 10GB or 1073741824")
    number, power, _ = match.groups()
    count = float(number) * 1024 ** _POWERS[power.lower()]
    if count > MOST:
        raise ValueError(f"{text!r} is not a size: more than {MOST} bytes")
    return int(count)


def format_size(count: float) -> str:
    """Return `count` bytes for people: `0 B`, `17.0 KiB`, `1.2 GiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if round(abs(size), 1) < 1024 or unit == "TiB":
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the loop returns at its last unit")


def parse_duration(text: str) -> float:
    """Return the seconds that `text` names: `30`, `30s`, `500ms`, `5m`, `1h`.

    Raises:
        ValueError: `text` is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write for example 30s, 500ms or 5m")
    number, unit = match.groups()
    return float(number) * _SECONDS[unit.lower()]


def format_duration(seconds: float) -> str:
    """Return `seconds` for people: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
