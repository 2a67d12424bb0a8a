"""One object of a store, shown as a store that holds nothing else: what mounting a single file comes down to."""

from collections.abc import Callable

from mountd.errors import NotFoundError, ReadOnlyError
from mountd.stores.base import Capabilities, Chunk, ObjectInfo, Page, QuickReads, ReadDone, Store, Upload
from mountd.units import ETag


class SingleObjectStore:
    """Shows the object `key` of `inner` under the last part of its key; reading only."""

    def __init__(self, inner: Store, key: str) -> None:
        self._inner = inner
        self._quick = inner if isinstance(inner, QuickReads) else None
        self._key = key
        self._shown = key.rpartition("/")[2]

    @property
    def name(self) -> str:
        """What the store is, for people."""
        return f"{self._inner.name}/{self._key}"

    @property
    def shown(self) -> str:
        """The name under which the object is shown."""
        return self._shown

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        return Capabilities(writable=False, page_limit=1)

    async def list_page(self, directory: str, marker: str | None = None, *, limit: int | None = None) -> Page:  # noqa: ARG002 - one object, one page
        """Return the one object."""
        if directory:
            return Page([], [], None)
        try:
            return Page([await self.stat(self._shown)], [], None)
        except NotFoundError:
            return Page([], [], None)

    async def walk_page(self, directory: str, marker: str | None = None) -> Page:
        """Return the one object."""
        return await self.list_page(directory, marker)

    async def stat(self, key: str) -> ObjectInfo:
        """Return the object's current version."""
        self._check(key)
        return (await self._inner.stat(self._key))._replace(key=self._shown)

    async def is_directory(self, key: str) -> bool:  # noqa: ARG002 - nothing lies below a file
        """There are none."""
        return False

    async def read(self, key: str, start: int, length: int, *, if_match: ETag | None) -> Chunk:
        """Return bytes of the object."""
        self._check(key)
        return await self._inner.read(self._key, start, length, if_match=if_match)

    def begin_read(self, key: str, start: int, length: int, *, if_match: ETag | None, done: ReadDone) -> bool:
        """Start to read without a task; False: not now."""
        quick = self._quick
        return (
            quick is not None
            and key == self._shown
            and quick.begin_read(self._key, start, length, if_match=if_match, done=done)
        )

    async def serve(self, moved: Callable[[], None]) -> None:
        """Call back those who began to read, until cancelled."""
        if self._quick is not None:
            await self._quick.serve(moved)

    async def put(self, key: str, data: memoryview, *, overwrite: bool = True) -> ObjectInfo:  # noqa: ARG002 - refused
        """Refuse."""
        raise self._refusal()

    async def begin_upload(self, key: str, size: int, *, overwrite: bool = True) -> Upload:  # noqa: ARG002 - refused
        """Refuse."""
        raise self._refusal()

    async def aclose(self) -> None:
        """Close the inner store."""
        await self._inner.aclose()

    def _check(self, key: str) -> None:
        if key != self._shown:
            raise NotFoundError(f"{self.name}: the mount shows this one object")

    def _refusal(self) -> ReadOnlyError:
        return ReadOnlyError(f"{self.name}: a single object is shown for reading only")
