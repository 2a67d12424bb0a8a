"""Which object becomes which file below the target: names that fit, names that do not, files beside directories.

Pure, and fed page by page, so that a container of millions of objects is never held in memory. Invariants:

- A planned name is a relative path of non-empty segments, none of them `.` or `..`, none over 255 bytes: joined to a
  directory it stays below it.
- Where a key is a file and a directory at once (`odd` beside `odd/child`), the directory wins: the other object is
  refused, or passed over if it is empty, since an empty object beside a directory is some tool's directory marker.
- Listings are sorted, or at least keep keys of one prefix together. Only then can a key that may yet turn out to be a
  directory be held back for as long as it must and no longer. Where a store breaks this, the file system finds the
  collision instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mountd.stores.base import ObjectInfo, Page
from mountd.tree.names import LONGEST_NAME, encode

PART_SUFFIX = ".mountd-part"
JOURNAL_SUFFIX = ".mountd-journal"
RUN_JOURNAL_NAME = ".mountd-download"
FILE_AND_DIRECTORY = "it is an object and also a directory, and a path can only be one; rename it in the storage"


class PlannedFile(NamedTuple):
    """An object and the relative path it gets."""

    info: ObjectInfo
    relative: str


class PlannedDirectory(NamedTuple):
    """A directory that a marker asks for."""

    relative: str


class Refusal(NamedTuple):
    """An object that gets no file, and why."""

    name: str
    """The object's key."""
    reason: str


class PassedOver(NamedTuple):
    """An empty object beside a directory of its name: a marker."""

    name: str


Entry = PlannedFile | PlannedDirectory | Refusal | PassedOver


@dataclass(slots=True)
class _Held:
    info: ObjectInfo
    relative: str
    reason: str | None
    shadowed: bool = False

    def settle(self) -> Entry:
        if self.reason is not None:
            return Refusal(self.info.key, self.reason)
        if not self.shadowed:
            return PlannedFile(self.info, self.relative)
        if self.info.size == 0:
            return PassedOver(self.info.key)
        return Refusal(self.info.key, FILE_AND_DIRECTORY)


class DownloadPlan:
    """Turns the pages of one listing into entries.

    Args:
        base: the directory that was listed, without slashes at its ends; it is left out of the relative paths.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        # Each key here is a beginning of the next one: as deep as a key has characters at most, and mostly one deep.
        self._held: list[_Held] = []

    def feed(self, page: Page) -> Iterator[Entry]:
        """Yield what `page` settles; the last keys wait for the next page or for `finish`."""
        items: list[tuple[str, ObjectInfo | None]] = [(info.key, info) for info in page.objects]
        if page.directories:
            items += [(directory + "/", None) for directory in page.directories if directory != self._base]
            items.sort(key=lambda item: item[0])
        for key, info in items:
            while self._held and not key.startswith(self._held[-1].info.key):
                yield self._held.pop().settle()
            relative = self._relative(key)
            if info is None:
                relative = relative.removesuffix("/")
            reason = refusal_reason(relative)
            if reason is None:
                for held in self._held:
                    if key.startswith("/", len(held.info.key)):
                        held.shadowed = True
            if info is not None and self._held and self._held[-1].info.key == key:
                self._held[-1].info = info  # replaced between two pages and so listed twice
            elif info is not None:
                self._held.append(_Held(info, relative, reason))
            elif reason is None:  # a marker with a name that does not fit holds no data: nothing is lost with it
                yield PlannedDirectory(relative)

    def finish(self) -> Iterator[Entry]:
        """Yield what the last page left open."""
        while self._held:
            yield self._held.pop().settle()

    def _relative(self, key: str) -> str:
        return key[len(self._base) + 1 :] if self._base else key


def refusal_reason(relative: str) -> str | None:
    """Return why `relative` cannot be a path below a directory, or None if it can."""
    if "\0" in relative:
        return "its name holds a NUL character"
    for segment in relative.split("/"):
        if not segment:
            return "a part of its name between slashes is empty"
        if segment in {".", ".."}:
            return f"its name holds the path segment {segment!r}"
        try:
            length = len(encode(segment))
        except UnicodeEncodeError:
            return "its name holds characters that a file name cannot have"
        if length > LONGEST_NAME:
            return f"a part of its name has more than {LONGEST_NAME} bytes"
    if is_own_name(relative.rpartition("/")[2]) or relative == RUN_JOURNAL_NAME:
        return "its name is one that mountd uses for unfinished downloads"
    return None


def is_own_name(name: str) -> bool:
    """Return whether `name` is one of an unfinished download's own files."""
    return name.startswith(".") and name.endswith((PART_SUFFIX, JOURNAL_SUFFIX))
