"""What every kind of storage offers to the rest of mountd.

A store shows one container (or directory) as a flat map of keys to immutable object versions, with virtual directories
where keys hold a `/`. Keys are `str` without a leading slash. Rules that every implementation keeps, checked by
`tests/contract`:

- An object's `etag` changes whenever its content does, also within one second and at equal size.
- `read` with `if_match` answers from that very version or raises `ChangedError` (another version is there) or
  `NotFoundError` (nothing is there); it never returns bytes of another version, and never fewer bytes than asked for
  except at the end of the object.
- A directory is whatever a key, a `dir/` marker or a marker with metadata `hdi_isfolder` implies. Markers are never
  listed as objects: they show up in `Page.directories`.
- What a store holds is listed even where no POSIX path can express it: `a//b` shows as the directory `a/` of `a`, `/x`
  as the directory "" of the root, segments may be `.` and `..`. Callers hide these names; they never walk into "".
- Bytes handed over for writing never change again. A call that is cancelled goes on in its thread for a while: a write
  may still happen, whole or not at all.
- Nothing here retries: `stores.guarded` does, under one deadline. Every call ends by its own timeouts.
- Only `MountdError`s come out; no message holds a secret.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from mountd.errors import MountdError
from mountd.units import ETag


class ObjectInfo(NamedTuple):
    """One version of one object."""

    key: str
    size: int
    """Bytes."""
    mtime_ns: int
    """Last modification, nanoseconds since 1970 UTC; the resolution is the store's."""
    etag: ETag


class Page(NamedTuple):
    """A part of a listing."""

    objects: list[ObjectInfo]
    directories: list[str]
    """Full keys without the trailing slash, each once per page."""
    next: str | None
    """Pass it as `marker` for the page after this one; None at the end."""


class Chunk(NamedTuple):
    """Bytes of one version."""

    data: memoryview
    etag: ETag
    """The version the bytes belong to."""
    size: int
    """The whole object's size in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store can do beyond the minimum."""

    writable: bool
    """`put` and `begin_upload` work."""
    page_limit: int
    """Most entries a page can hold."""
    lists_by_asking: bool = True
    """A page is an answer of the store's server; false where the names are known beforehand."""


class Upload(Protocol):
    """An object in the making: nothing is visible under its key before `commit` returns."""

    async def part(self, offset: int, data: memoryview) -> None:
        """Send `data`, the bytes from `offset` on.

        Parts may be sent in parallel and in any order; sending a part again replaces it. Offsets are multiples of
        `part_bytes`, all parts but the last have that length.
        """

    async def commit(self, size: int) -> ObjectInfo:
        """Publish the object at once, `size` bytes long, and return its version."""

    async def abort(self) -> None:
        """Forget what was sent; never raises for an upload that is over."""

    @property
    def part_bytes(self) -> int:
        """The length of every part but the last."""


class Store(Protocol):
    """Object access. Errors common to all calls: `DeniedError`, `UnavailableError`."""

    @property
    def name(self) -> str:
        """What the store is, for people: `myaccount/mycontainer`. No secrets."""

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""

    async def list_page(self, directory: str, marker: str | None = None, *, limit: int | None = None) -> Page:
        """Return a page of the direct children of `directory` ("" is the root).

        A page may be empty and still have a `next`. A directory that does not exist lists as empty (a flat store
        cannot know better); a container that does not exist raises `NotFoundError`.
        """

    async def walk_page(self, directory: str, marker: str | None = None) -> Page:
        """Return a page of all objects below `directory`, at any depth; `directories` holds markers only."""

    async def stat(self, key: str) -> ObjectInfo:
        """Return the current version of the object `key`.

        Raises:
            NotFoundError: no object has this key.
            IsDirectoryError: a directory marker (or a real directory) has it.
        """

    async def is_directory(self, key: str) -> bool:
        """Whether anything lies below `key + "/"`, a `dir/` marker included; costs one listing of one entry.

        A marker without the slash (`hdi_isfolder`) is seen by `stat`, not by this.
        """

    async def read(self, key: str, start: int, length: int, *, if_match: ETag | None) -> Chunk:
        """Return the bytes [start, start + length) of `key`, cut at the object's end; empty from the end on.

        Raises:
            NotFoundError: no object has this key.
            ChangedError: it exists in another version than `if_match`.
        """

    async def put(self, key: str, data: memoryview, *, overwrite: bool = True) -> ObjectInfo:
        """Write a whole small object at once.

        Raises:
            ExistsError: `overwrite` is false and the key is taken.
            ReadOnlyError: the store is not writable.
        """

    async def begin_upload(self, key: str, size: int, *, overwrite: bool = True) -> Upload:
        """Start writing an object of `size` bytes in parts; errors as in `put` (`ExistsError` at `commit`)."""

    async def aclose(self) -> None:
        """Close connections."""


@runtime_checkable
class PagesAhead(Protocol):
    """What a store has that knows where the next page begins before it has taken a page apart: see `pages`."""

    async def page_ahead(
        self, directory: str, marker: str | None, *, deep: bool, following: Callable[[str], None]
    ) -> Page:
        """Return what `list_page` would, or `walk_page` if `deep`.

        `following` is told, by the loop, the marker of the page after it: early or not at all, more than once where
        the store is asked again, and never for certain. What counts is the page's `next`.
        """


class Missed(NamedTuple):
    """A read that was begun brought nothing: `Store.read` will say why, or bring it."""

    got_on_at: float
    """When it got on last, on the loop's clock."""
    failure: MountdError | None = None
    """What was answered, where that is to be tried again after a pause."""


ReadDone = Callable[[Chunk | Missed], None]
"""Takes what came of a read that was begun."""


@runtime_checkable
class QuickReads(Protocol):
    """What a store has that can read small ranges without a task for each.

    Everything that is not plain sailing is for `Store.read`: it is what to call after a "no", of either kind.
    """

    def begin_read(self, key: str, start: int, length: int, *, if_match: ETag | None, done: ReadDone) -> bool:
        """Start to `read`; False: not now, and always before and after `serve`.

        `done` is called later, by the loop, once; not at all if `serve` ends before.
        """

    async def serve(self, moved: Callable[[], None]) -> None:
        """Call back those who began, until cancelled; `moved` is told of reads that take long and get on."""
