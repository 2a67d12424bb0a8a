"""The entries of one directory, compactly and in the order in which they arrived.

Packed arrays instead of objects: about 60 bytes an entry. A listing grows page by page, is read while it grows, and is
frozen by `finish`. The index of an entry never changes, which makes offsets of `readdir` stable. A name is listed once:
a directory shadows an object of the same name (the object could be read, but everything below it could not), wherever
in the listing the two show up.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

import trio

from mountd.errors import MountdError
from mountd.stores.base import ObjectInfo
from mountd.tree import names
from mountd.units import ETag

DIRECTORY = -1
"""The size that stands for a directory."""


class Entry(NamedTuple):
    """What a listing or a single question says about one name."""

    size: int
    """Bytes, or `DIRECTORY`."""
    mtime_ns: int
    etag: ETag

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return self.size == DIRECTORY


_SIGNPOST_EVERY = 16
"""Names between two that are kept as they are, to find others by."""

A_DIRECTORY = Entry(DIRECTORY, 0, ETag(""))


class Listing:
    """The entries of one directory.

    Args:
        directory: its key, without slashes at the ends.
        asked_at: when the first page was asked for, on the loop's clock.
    """

    __slots__ = (
        "_by_name",
        "_etag_ends",
        "_etags",
        "_mtimes",
        "_name_ends",
        "_names",
        "_news",
        "_order",
        "_page_starts",
        "_page_times",
        "_prefix_length",
        "_signposts",
        "_sizes",
        "asked_at",
        "complete",
        "error",
        "hidden",
        "pages",
    )

    def __init__(self, directory: str, asked_at: float) -> None:
        self.asked_at = asked_at
        self.complete = False
        self.error: MountdError | None = None
        self.hidden = 0
        """Names that cannot be expressed, and objects that a directory of the same name hides."""
        self.pages = 0
        self._prefix_length = len(directory) + 1 if directory else 0
        self._names = bytearray()
        self._name_ends = array("Q")
        self._etags = bytearray()
        self._etag_ends = array("Q")
        self._sizes = array("q")
        self._mtimes = array("q")
        self._page_starts = array("Q")
        self._page_times = array("d")
        self._by_name: dict[bytes, int] | None = {}
        """While it grows; afterwards `_order` serves with 4 bytes an entry."""
        self._order = array("I")
        """Indices in the order of names."""
        self._signposts: list[bytes] = []
        """Every 16th name of `_order`: the search among objects is the interpreter's own, and most of the way."""
        self._news = trio.Event()

    def __len__(self) -> int:
        return len(self._sizes)

    # ---- growing

    def add_page(self, objects: Iterable[ObjectInfo], directories: Iterable[str], asked_at: float) -> None:
        """Add what one page holds; `asked_at` is when it was asked for."""
        self._page_starts.append(len(self))
        self._page_times.append(asked_at)
        self.pages += 1
        cut = self._prefix_length
        for key in directories:
            self._add(names.encode(key[cut:]), DIRECTORY, 0, "")
        for info in objects:
            self._add(names.encode(info.key[cut:]), info.size, info.mtime_ns, info.etag)
        self._tell()

    def finish(self) -> None:
        """All pages are here."""
        assert self._by_name is not None, "a listing is finished once"
        by_name, self._by_name = self._by_name, None
        ordered = sorted(by_name)
        self._order = array("I", [by_name[name] for name in ordered])
        self._signposts = ordered[::_SIGNPOST_EVERY]
        self.complete = True
        self._tell()

    def fail(self, error: MountdError) -> None:
        """No more pages will come."""
        self.error = error
        self._tell()

    def _add(self, name: bytes, size: int, mtime_ns: int, etag: str) -> None:
        by_name = self._by_name
        assert by_name is not None, "a finished listing does not grow"
        if not names.expressible(name):
            if name or size == DIRECTORY:  # an object without a name is the directory's own marker
                self.hidden += 1
            return
        index = by_name.setdefault(name, len(self._sizes))
        if index < len(self._sizes):
            if (size == DIRECTORY) != (self._sizes[index] == DIRECTORY):
                self._sizes[index] = DIRECTORY
                self.hidden += 1
            return
        self._names += name
        self._name_ends.append(len(self._names))
        self._etags += etag.encode()
        self._etag_ends.append(len(self._etags))
        self._sizes.append(size)
        self._mtimes.append(mtime_ns)

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    # ---- reading

    async def wait_until(self, ready: Callable[["Listing"], bool]) -> None:
        """Wait until `ready(self)`, or until the listing is complete.

        Raises:
            MountdError: the listing failed before that.
        """
        while not (self.complete or ready(self)):
            if self.error is not None:
                raise self.error.with_traceback(None)
            await self._news.wait()

    def find(self, name: bytes) -> int:
        """Return the index of `name`, or -1."""
        if self._by_name is not None:
            return self._by_name.get(name, -1)
        post = bisect_right(self._signposts, name) - 1
        if post < 0:
            return -1
        start = post * _SIGNPOST_EVERY
        stop = min(start + _SIGNPOST_EVERY, len(self._order))
        position = bisect_left(self._order, name, start, stop, key=self.name)
        if position < stop and self.name(self._order[position]) == name:
            return self._order[position]
        return -1

    def name(self, index: int) -> bytes:
        """Return the name of entry `index`."""
        return bytes(self._names[self._name_ends[index - 1] if index else 0 : self._name_ends[index]])

    def entry(self, index: int) -> Entry:
        """Return what is known of entry `index`."""
        size = self._sizes[index]
        if size == DIRECTORY:
            return A_DIRECTORY
        etag = self._etags[self._etag_ends[index - 1] if index else 0 : self._etag_ends[index]].decode()
        return Entry(size, self._mtimes[index], ETag(etag))

    def entry_asked_at(self, index: int) -> float:
        """Return when the page with entry `index` was asked for; -1 (absent) needs all pages: the first one's."""
        if index < 0:
            return self.asked_at
        page = bisect_left(self._page_starts, index + 1) - 1
        return self._page_times[page]
