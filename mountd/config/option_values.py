"""The texts of option values, read: one function for each kind of value.

Pure but for `parse_directory`, which starts at the current directory. All raise ValueError, saying what is wrong.
"""

import os
import re

from mountd.units import MIB, parse_duration, parse_size

SMALLEST_MEMORY = 16 * MIB
"""Two blocks: less could not even read ahead."""

NEVER_S = 1e9
"""Thirty years stand for "never": infinity is no JSON number and no kernel timeout."""

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_PERCENT = re.compile(r"(\d{1,3})\s*%")


def parse_mode(text: str) -> str:
    """Return the mode `text` names."""
    if text not in {"auto", "stream", "download"}:
        raise ValueError(f"{text!r} is not a mode; use auto, stream or download")
    return text


def parse_fuse_engine(text: str) -> str:
    """Return the engine `text` names."""
    if text not in {"direct", "libfuse"}:
        raise ValueError(f"{text!r} is not an engine; use direct or libfuse")
    return text


def parse_memory(text: str) -> int:
    """Return bytes, enough to serve a read."""
    size = parse_size(text)
    if size < SMALLEST_MEMORY:
        raise ValueError(f"{text!r} is too little; {SMALLEST_MEMORY // MIB}MiB is the least")
    return size


def parse_dataset_memory(text: str) -> int:
    """Return bytes; less than enough is raised to it, since Azure ML's 0 turns its cache off."""
    return max(SMALLEST_MEMORY, parse_size(text))


def parse_directory(text: str) -> str:
    """Return an absolute path."""
    if not text or "\0" in text:
        raise ValueError("must name a directory")
    return os.path.abspath(text)


def parse_cache_size(text: str) -> str:
    """Return `text` in its normal form: `10GB`, `-20GB` or `80%`."""
    text = text.strip()
    percent = _PERCENT.fullmatch(text)
    if percent is not None:
        if not 1 <= int(percent[1]) <= 100:
            raise ValueError(f"{text!r} is not between 1% and 100%")
        return f"{int(percent[1])}%"
    parse_size(text.removeprefix("-") if text.startswith("-") else text.removeprefix("+"))
    return text.removeprefix("+")


def parse_share(text: str) -> float:
    """Return a part of the whole: 0 to 1."""
    if not re.fullmatch(r"\s*[01](\.\d*)?\s*", text) or float(text) > 1:
        raise ValueError(f"{text!r} is not between 0 and 1")
    return float(text)


def parse_ttl(text: str) -> float:
    """Return seconds, `NEVER_S` for `never` and `inf`."""
    return NEVER_S if text.strip().lower() in {"inf", "never"} else min(NEVER_S, parse_duration(text))


def parse_milliseconds(text: str) -> float:
    """Return seconds from whole milliseconds."""
    if not re.fullmatch(r"\s*\d+\s*", text):
        raise ValueError(f"{text!r} is not a whole number of milliseconds")
    return min(NEVER_S, float(text) / 1000)


def parse_deadline(text: str) -> float:
    """Return seconds, from one second to a day."""
    seconds = parse_duration(text)
    if not 1 <= seconds <= 86400:
        raise ValueError(f"{text!r} is not between 1s and 1d")
    return seconds


def parse_owner(text: str) -> int:
    """Return a numeric user or group id."""
    # the largest number means "unchanged" to chown
    if not re.fullmatch(r"\d{1,10}", text) or int(text) >= 0xFFFFFFFF:
        raise ValueError(f"{text!r} is not a numeric id")
    return int(text)


def parse_permissions(text: str) -> int:
    """Return the permission bits of an octal mode: `644`, `0644`, `0o644`."""
    if not re.fullmatch(r"(0o?)?[0-7]{3}", text):
        raise ValueError(f"{text!r} is not an octal mode such as 0644")
    return int(text.removeprefix("0o"), 8)


def parse_boolean(text: str) -> bool:
    """Return whether `text` says yes."""
    value = text.strip().lower()
    if value not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return value in _TRUE
