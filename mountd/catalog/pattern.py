"""Patterns in the paths of datasets: `images/**/*.jpg`, `animals/dog/year-*/*.jpg`. Pure.

`*` stands for any characters of one path segment, `**` as a whole segment for any number of segments, none included;
nothing else is special. In a URI a `*` that belongs to a name is written `%2A`, as a `%` is written `%25`; a pattern
is kept percent-encoded, so that the two stay apart.
"""

import re
from functools import cached_property
from typing import NamedTuple
from urllib.parse import unquote

_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://[^/?#]*)?")
_QUERY = re.compile(r"[?#].*", re.DOTALL)


class Split(NamedTuple):
    """A path and what is to be looked for below it."""

    base: str
    """What stands before the first segment with a `*`, a query behind the path included."""
    pattern: str
    """The rest, percent-encoded; "" if there is no `*`."""


def split_uri(text: str) -> Split:
    """Return base and pattern of a URI."""
    query = _QUERY.search(text) if text.lower().startswith(("http", "wasb")) else None
    end = query.start() if query else len(text)
    authority = _AUTHORITY.match(text)
    start = authority.end() if authority else 0
    star = text.find("*", start, end)
    if star < 0:
        return Split(text, "")
    cut = max(text.rfind("/", start, star) + 1, start)
    return Split(text[:cut] + text[end:], text[cut:end].strip("/"))


def split_path(path: str) -> Split:
    """Return base and pattern of a bare path, in which a `%` is a `%`."""
    star = path.find("*")
    if star < 0:
        return Split(path, "")
    cut = path.rfind("/", 0, star) + 1
    return Split(path[:cut] or ".", path[cut:].strip("/").replace("%", "%25"))


class Pattern:
    """A pattern, taken apart.

    Args:
        text: percent-encoded, relative.
    """

    def __init__(self, text: str) -> None:
        self._segments = [segment for segment in text.split("/") if segment not in ("", ".")]

    @property
    def plain_depth(self) -> int:
        """How many segments stand before the first `**`."""
        segments = self._segments
        return segments.index("**") if "**" in segments else len(segments)

    @property
    def depth(self) -> int:
        """How many segments there are."""
        return len(self._segments)

    @cached_property
    def _steps(self) -> list[re.Pattern[str]]:
        return [re.compile(_segment(segment), re.DOTALL) for segment in self._segments]

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        parts: list[str] = []
        last = len(self._segments) - 1
        for index, segment in enumerate(self._segments):
            if segment == "**":
                parts.append(".+" if index == last else "(?:[^/]+/)*")
            else:
                parts.append(_segment(segment) + ("" if index == last else "/"))
        return re.compile("".join(parts), re.DOTALL)

    def step_matches(self, index: int, name: str) -> bool:
        """Whether segment `index`, which is no `**`, stands for `name`."""
        return self._steps[index].fullmatch(name) is not None

    def matches(self, path: str) -> bool:
        """Whether the pattern stands for `path`, which is relative to its base."""
        return self._whole.fullmatch(path) is not None


def _segment(text: str) -> str:
    return "[^/]*".join(re.escape(unquote(part, errors="surrogateescape")) for part in re.split(r"\*+", text))
