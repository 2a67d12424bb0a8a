"""The files of a dataset as a store: names from a packed listing, bytes from the stores that hold them. Read-only.

Nothing is asked but for bytes: no listing, no HEAD. Each read carries the ETag that the listing pinned, so what comes
is what was there when the dataset was pinned, or an error that names the file.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import trio

from mountd.catalog.packed_listing import HiddenFile, Member, PackedListing, decode
from mountd.errors import ChangedError, GoneError, IsDirectoryError, MountdError, NotFoundError, ReadOnlyError
from mountd.stores.base import Capabilities, Chunk, Missed, ObjectInfo, Page, QuickReads, ReadDone, Store, Upload
from mountd.units import ETag

PAGE_LIMIT = 1000
"""A page costs no request but 5 us of processor time an entry, during which nobody else is served."""
_REMEMBERED = 1024
"""Files whose place in the listing is at hand: those that are read just now."""


CachePlaces = Callable[[str], tuple[str | None, str]]
"""Returns identity and key of the object behind a key of one store."""


class _Located(NamedTuple):
    info: ObjectInfo
    member: Member


class DatasetStore:
    """One dataset.

    Args:
        name: what it is called, for people.
        listing: its files.
        members: the stores that hold them, in the listing's order; closed with this one.
        places: for each member, what tells the object behind a key from all others, as `cache_place` does.
        page_limit: most entries of a page.
    """

    def __init__(
        self,
        name: str,
        listing: PackedListing,
        members: Sequence[Store],
        places: Sequence[CachePlaces],
        *,
        page_limit: int = PAGE_LIMIT,
    ) -> None:
        self._name = name
        self._listing = listing
        self._members = members
        self._quick = [member if isinstance(member, QuickReads) else None for member in members]
        self._places = places
        self._page_limit = page_limit
        self._hidden = {hidden.path: hidden for hidden in listing.header.hidden}
        self._hidden_before = _anchored(listing)
        self._locate = lru_cache(maxsize=_REMEMBERED)(self._find)
        self._latest_page: dict[str, int] = {}
        """The files of the latest page of a walk, which are what its reader will ask about."""

    @property
    def name(self) -> str:
        """What the store is, for people."""
        return self._name

    @property
    def listing(self) -> PackedListing:
        """The files."""
        return self._listing

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        return Capabilities(writable=False, page_limit=self._page_limit, lists_by_asking=False)

    async def list_page(self, directory: str, marker: str | None = None, *, limit: int | None = None) -> Page:
        """Return a page of the direct children of `directory`."""
        await trio.lowlevel.checkpoint()
        number = self._listing.walk_to(directory)
        if number < 0:
            return Page([], [], None)
        first, count = int(marker or 0), max(1, min(limit or self._page_limit, self._page_limit))
        children, files = self._listing.children(number), self._listing.files(number)
        prefix = f"{directory}/" if directory else ""
        directories = [
            prefix + decode(self._listing.directory_name(child)) for child in children[first : first + count]
        ]
        start = max(0, first - len(children))
        chosen = files[start : start + count - len(directories)]
        objects = [self._info(file, prefix + decode(self._listing.file_name(file))) for file in chosen]
        end = first + len(directories) + len(objects)
        return Page(objects, directories, str(end) if end < len(children) + len(files) else None)

    async def walk_page(self, directory: str, marker: str | None = None) -> Page:
        """Return a page of all files below `directory`, those included that no path can show."""
        await trio.lowlevel.checkpoint()
        number = self._listing.walk_to(directory)
        if number < 0:
            return Page([], [], None)
        files = self._listing.files_below(number)
        first = int(marker) if marker else files.start
        last = min(files.stop, first + self._page_limit)
        self._latest_page = {}
        return Page(list(self._walk(first, last)), [], str(last) if last < files.stop else None)

    async def stat(self, key: str) -> ObjectInfo:
        """Return the pinned version of the file `key`."""
        await trio.lowlevel.checkpoint()
        return self._locate(key).info

    async def is_directory(self, key: str) -> bool:
        """Whether files lie below `key`."""
        await trio.lowlevel.checkpoint()
        return bool(key) and self._listing.walk_to(key) > 0

    async def read(self, key: str, start: int, length: int, *, if_match: ETag | None) -> Chunk:
        """Return bytes of the pinned version.

        Raises:
            ChangedError: it is gone from its store, or replaced.
        """
        info, member = self._locate(key)
        if if_match not in (None, info.etag):
            await trio.lowlevel.checkpoint()
            raise ChangedError(f"{self._name}: {key}: is pinned to another version than the one asked for")
        store = self._members[member.store]
        try:
            chunk = await store.read(member.key, start, length, if_match=info.etag)
        except (ChangedError, NotFoundError) as error:
            replaced = isinstance(error, ChangedError)
            what, kind = ("was replaced", ChangedError) if replaced else ("was deleted", GoneError)
            raise kind(
                f"{self._name}: {key}: {what} in {store.name} since the dataset was pinned; put the old version back, "
                "or register a new version of the dataset"
            ) from error
        if chunk.size != info.size:
            raise ChangedError(f"{self._name}: {key}: has {chunk.size} bytes now, and was pinned with {info.size}")
        return chunk

    def begin_read(self, key: str, start: int, length: int, *, if_match: ETag | None, done: ReadDone) -> bool:
        """Start to read the pinned version without a task; False: not now."""
        try:
            info, member = self._locate(key)
        except MountdError:
            return False
        quick = self._quick[member.store]
        if quick is None or if_match not in (None, info.etag):
            return False

        def came(chunk: Chunk | Missed) -> None:
            right = isinstance(chunk, Missed) or chunk.size == info.size
            done(chunk if right else Missed(trio.current_time()))

        return quick.begin_read(member.key, start, length, if_match=info.etag, done=came)

    async def serve(self, moved: Callable[[], None]) -> None:
        """Call back those who began to read, until cancelled."""
        async with trio.open_nursery() as nursery:
            for quick in self._quick:
                if quick is not None:
                    nursery.start_soon(quick.serve, moved)

    async def put(self, key: str, data: memoryview, *, overwrite: bool = True) -> ObjectInfo:  # noqa: ARG002 - refused
        """Refuse."""
        raise self._refusal()

    async def begin_upload(self, key: str, size: int, *, overwrite: bool = True) -> Upload:  # noqa: ARG002 - refused
        """Refuse."""
        raise self._refusal()

    async def aclose(self) -> None:
        """Close the member stores."""
        for member in self._members:
            await member.aclose()

    def cache_place(self, key: str) -> tuple[str | None, str]:
        """Return the identity of the store that holds the file `key`, None if it has none, and its key there.

        So a mount of that store and one of the dataset share cached bytes.

        Raises:
            NotFoundError: there is no such file.
        """
        file = self._latest_page.get(key)
        member = self._locate(key).member if file is None else self._listing.member(file, key)
        return self._places[member.store](member.key)

    def _walk(self, first: int, last: int) -> Iterator[ObjectInfo]:
        directory = self._listing.directory_of(first) if first < last else 0
        start = first
        while start < last:
            path, stop = self._listing.directory_path(directory), min(last, self._listing.files(directory).stop)
            prefix = f"{path}/" if path else ""
            for file in range(start, stop):
                for hidden in self._hidden_before.get(file, ()):
                    yield _hidden_info(hidden)
                info = self._info(file, prefix + decode(self._listing.file_name(file)))
                self._latest_page[info.key] = file
                yield info
            start, directory = stop, directory + 1

    def _find(self, key: str) -> "_Located":
        file = self._latest_page.get(key, -1)
        if file < 0:
            file = self._listing.find(key)
        if file >= 0:
            return _Located(self._info(file, key), self._listing.member(file, key))
        hidden = self._hidden.get(key)
        if hidden is not None:
            return _Located(_hidden_info(hidden), self._listing.member_of(hidden.source, key))
        if self._listing.walk_to(key) >= 0:
            raise IsDirectoryError(f"{self._name}: {key or '/'}: a directory, not a file")
        raise NotFoundError(f"{self._name}: {key}: the dataset has no such file")

    def _info(self, file: int, path: str) -> ObjectInfo:
        size, mtime_ns, etag = self._listing.version(file)
        return ObjectInfo(path, size, mtime_ns, etag)

    def _refusal(self) -> ReadOnlyError:
        return ReadOnlyError(
            f"{self._name}: a dataset never changes; write to the datastore and register a new version"
        )


def _hidden_info(hidden: HiddenFile) -> ObjectInfo:
    return ObjectInfo(hidden.path, hidden.size, hidden.mtime_ns, ETag(hidden.etag))


def _anchored(listing: PackedListing) -> dict[int, list[HiddenFile]]:
    """Return hidden files by the file that a walk shows right behind them.

    That is the first one below the directory of its name: whoever makes files of a walk must see the two together.
    """
    found: dict[int, list[HiddenFile]] = {}
    for hidden in listing.header.hidden:
        shadow = listing.walk_to(hidden.path)
        found.setdefault(listing.files_below(shadow).start if shadow > 0 else 0, []).append(hidden)
    return found
