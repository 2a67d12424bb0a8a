"""A container in memory: the reference that every other store is compared with, and the store of fast tests.

It behaves like a flat Blob container, markers and odd names included, and passes the same contract suite as the real
stores. `set`, `set_directory_marker` and `delete` change it from outside, at once and without an await, as another
client of the same container would. Every write makes an ETag that was never used before. A key's history is not kept:
reading an old version is a `ChangedError`.
"""

import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import trio

from mountd.errors import ChangedError, ExistsError, IsDirectoryError, NotFoundError, ReadOnlyError, UsageError
from mountd.stores.base import Capabilities, Chunk, ObjectInfo, Page
from mountd.units import MIB, ETag


class _Blob(NamedTuple):
    info: ObjectInfo
    data: bytes
    is_directory: bool

    @property
    def is_marker(self) -> bool:
        return self.info.key.endswith("/") or (self.is_directory and not self.data)


class MemoryStore:
    """A flat map of keys to bytes with virtual directories.

    Args:
        name: what `name` says.
        page_limit: most entries a page can hold, as `capabilities.page_limit`; may be changed at any time.
        part_bytes: the part length of uploads.
        writable: whether `put` and `begin_upload` work; the outside changes always do.
        clock: gives modification times, nanoseconds since 1970 UTC.
        on_call: awaited at the start of every call with the method's name and the key or directory; tests use it to
            wait, to fail, or to change the store at an exact moment.
    """

    def __init__(
        self,
        name: str = "memory",
        *,
        page_limit: int = 5000,
        part_bytes: int = 4 * MIB,
        writable: bool = True,
        clock: Callable[[], int] = time.time_ns,
        on_call: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        self._name = name
        self.page_limit = page_limit
        self.part_bytes = part_bytes
        self.writable = writable
        self.on_call = on_call
        self.calls: Counter[str] = Counter()
        """How often each method of the protocol was called."""
        self._clock = clock
        self._blobs: dict[str, _Blob] = {}
        self._keys: list[str] = []
        self._versions = 0

    # Outside changes -------------------------------------------------------------------------------------------------

    def set(self, key: str, data: bytes, *, is_directory: bool = False) -> ObjectInfo:
        """Create or replace the blob `key` at once; `is_directory` gives it the metadata `hdi_isfolder=true`."""
        if not key:
            raise UsageError(f"{self._name}: a key has at least one character")
        self._versions += 1
        etag = ETag(f'"0x{self._versions:016X}"')
        info = ObjectInfo(key=key, size=len(data), mtime_ns=self._clock(), etag=etag)
        if key not in self._blobs:
            insort(self._keys, key)
        self._blobs[key] = _Blob(info, bytes(data), is_directory)
        return info

    def set_directory_marker(self, key: str) -> None:
        """Create an empty blob `key` with the metadata `hdi_isfolder=true`."""
        self.set(key, b"", is_directory=True)

    def delete(self, key: str) -> None:
        """Delete the blob `key` at once.

        Raises:
            KeyError: there is none.
        """
        del self._blobs[key]
        del self._keys[bisect_left(self._keys, key)]

    # The protocol ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the store is, for people."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        return Capabilities(writable=self.writable, page_limit=self.page_limit)

    async def list_page(self, directory: str, marker: str | None = None, *, limit: int | None = None) -> Page:
        """Return a page of the direct children of `directory`."""
        await self._enter("list_page", directory)
        return self._page(directory, marker, limit, delimiter=True)

    async def walk_page(self, directory: str, marker: str | None = None) -> Page:
        """Return a page of everything below `directory`."""
        await self._enter("walk_page", directory)
        return self._page(directory, marker, None, delimiter=False)

    async def stat(self, key: str) -> ObjectInfo:
        """Return the current version of the object `key`."""
        await self._enter("stat", key)
        return self._find(key).info

    async def is_directory(self, key: str) -> bool:
        """Whether anything lies below `key`."""
        await self._enter("is_directory", key)
        index = bisect_left(self._keys, key + "/")
        return index < len(self._keys) and self._keys[index].startswith(key + "/")

    async def read(self, key: str, start: int, length: int, *, if_match: ETag | None) -> Chunk:
        """Return the bytes [start, start + length) of `key`."""
        await self._enter("read", key)
        blob = self._find(key)
        if if_match is not None and if_match != blob.info.etag:
            raise ChangedError(f"read {self._name}/{key}: the object was replaced since it was listed")
        return Chunk(memoryview(blob.data)[start : start + length], blob.info.etag, blob.info.size)

    async def put(self, key: str, data: memoryview, *, overwrite: bool = True) -> ObjectInfo:
        """Write a whole object at once."""
        await self._enter("put", key)
        return self._publish(key, bytes(data), overwrite=overwrite)

    async def begin_upload(self, key: str, size: int, *, overwrite: bool = True) -> "MemoryUpload":  # noqa: ARG002 - the reference needs no plan
        """Start writing an object in parts."""
        await self._enter("begin_upload", key)
        self._check_writable(key)
        return MemoryUpload(self, key, overwrite=overwrite)

    async def aclose(self) -> None:
        """There is nothing to close."""
        await trio.lowlevel.checkpoint()

    # Inside ----------------------------------------------------------------------------------------------------------

    async def _enter(self, method: str, key: str) -> None:
        self.calls[method] += 1
        await trio.lowlevel.checkpoint()
        if self.on_call is not None:
            await self.on_call(method, key)

    def _find(self, key: str) -> _Blob:
        blob = self._blobs.get(key)
        if blob is not None and blob.is_marker:
            raise IsDirectoryError(f"{self._name}/{key}: a directory, not an object")
        if blob is None:
            raise NotFoundError(f"{self._name}/{key}: no such object")
        return blob

    def _check_writable(self, key: str) -> None:
        if not self.writable:
            raise ReadOnlyError(f"write {self._name}/{key}: the store is read-only")
        if not key or key.endswith("/"):
            raise UsageError(f"write {self._name}/{key}: an object's key is not empty and does not end in a slash")

    def _publish(self, key: str, data: bytes, *, overwrite: bool) -> ObjectInfo:
        self._check_writable(key)
        if not overwrite and key in self._blobs:
            raise ExistsError(f"write {self._name}/{key}: it exists already; allow overwriting or choose another name")
        return self.set(key, data)

    def _page(self, directory: str, marker: str | None, limit: int | None, *, delimiter: bool) -> Page:
        prefix = directory + "/" if directory else ""
        room = max(1, min(limit or self.page_limit, self.page_limit))
        objects: list[ObjectInfo] = []
        directories: dict[str, None] = {}
        for name, blob in self._entries(prefix, marker or prefix, delimiter=delimiter):
            if room == 0:
                return Page(objects, list(directories), name)
            room -= 1
            if blob is not None and not blob.is_marker:
                objects.append(blob.info)
            elif name != prefix:
                directories[name.removesuffix("/")] = None
        return Page(objects, list(directories), None)

    def _entries(self, prefix: str, start: str, *, delimiter: bool) -> Iterator[tuple[str, _Blob | None]]:
        """Yield blobs and common prefixes (ending in a slash, without a blob) from `start` on, in key order."""
        index = bisect_left(self._keys, start)
        while index < len(self._keys) and self._keys[index].startswith(prefix):
            key = self._keys[index]
            slash = key.find("/", len(prefix)) if delimiter else -1
            if slash < 0:
                yield key, self._blobs[key]
                index += 1
            else:
                group = key[: slash + 1]
                yield group, None
                index = bisect_left(self._keys, group[:-1] + "0", lo=index)  # "0" is the character after "/"


class MemoryUpload:
    """An object in the making; nothing of it can be seen before `commit` returns."""

    def __init__(self, store: MemoryStore, key: str, *, overwrite: bool) -> None:
        self._store = store
        self._key = key
        self._overwrite = overwrite
        self._parts: dict[int, bytes] = {}
        self._open = True
        self._part_bytes = store.part_bytes

    @property
    def part_bytes(self) -> int:
        """The length of every part but the last."""
        return self._part_bytes

    async def part(self, offset: int, data: memoryview) -> None:
        """Take `data`, the bytes from `offset` on."""
        await self._store._enter("part", self._key)  # noqa: SLF001 - one idea in two classes
        self._check_open()
        if offset % self._part_bytes or not 0 < len(data) <= self._part_bytes:
            raise UsageError(f"write {self._store.name}/{self._key}: {len(data)} bytes at {offset} are not a part")
        self._parts[offset] = bytes(data)

    async def commit(self, size: int) -> ObjectInfo:
        """Publish the object."""
        await self._store._enter("commit", self._key)  # noqa: SLF001 - one idea in two classes
        self._check_open()
        data = b"".join(self._parts[offset] for offset in sorted(self._parts))
        offsets = list(range(0, size, self._part_bytes))
        if sorted(self._parts) != offsets or len(data) != size:
            raise UsageError(f"write {self._store.name}/{self._key}: the parts do not make up {size} bytes")
        info = self._store._publish(self._key, data, overwrite=self._overwrite)  # noqa: SLF001 - one idea in two classes
        self._open = False
        return info

    async def abort(self) -> None:
        """Forget the parts."""
        await trio.lowlevel.checkpoint()
        self._open = False
        self._parts.clear()

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError(f"write {self._store.name}/{self._key}: the upload is over")
