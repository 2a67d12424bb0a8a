"""A directory of this node as a flat store.

An object is a regular file, a directory is a directory, empty ones included. A read answers from one version or not at
all: the file's status is compared before and after the bytes are taken. Writes go to a hidden file in the same
directory and appear by one atomic rename or link, with the bytes and the name on disk. Keys never lead out of the
directory: segments `.`, `..` and "" name nothing. Symbolic links are followed, also to the outside.
"""

import itertools
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar

import trio

from mountd.aio.threads import Lane
from mountd.errors import ChangedError, IsDirectoryError, MountdError, NotFoundError, UnavailableError, UsageError
from mountd.stores import local_errors, local_listing, local_version
from mountd.stores.base import Capabilities, Chunk, ObjectInfo, Page
from mountd.stores.local_names import key_of, path_of
from mountd.stores.local_upload import HiddenFile, publish_bytes
from mountd.units import MIB, ETag

T = TypeVar("T")

PAGE_LIMIT = 5000
PART_BYTES = 8 * MIB
ABORT_S = 10.0
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not block the open
_Listing = Callable[[bytes, list[local_listing.Identity], bytes], Iterator[local_listing.Entry]]


class LocalStore:
    """The tree below a directory.

    Args:
        path: the directory, absolute.
        page_limit: most entries of a page.
    """

    def __init__(self, path: str, *, page_limit: int = PAGE_LIMIT) -> None:
        self._page_limit = page_limit
        self._name = path.rstrip("/") or "/"
        self._root = os.fsencode(path.rstrip("/")) or b"/."
        self._rests = local_listing.Rests()
        self._reads = Lane("local reads", 64)
        self._questions = Lane("local listings", 16)
        self._writes = Lane("local writes", 16)

    @property
    def name(self) -> str:
        """The directory's path."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        return Capabilities(writable=True, page_limit=self._page_limit)

    async def list_page(self, directory: str, marker: str | None = None, *, limit: int | None = None) -> Page:
        """Return a page of the direct children of `directory`."""
        return await self._questions.run(self._page, local_listing.children, directory, marker, limit)

    async def walk_page(self, directory: str, marker: str | None = None) -> Page:
        """Return a page of everything below `directory`; every directory counts as its own marker."""
        return await self._questions.run(self._page, local_listing.descendants, directory, marker, None)

    async def stat(self, key: str) -> ObjectInfo:
        """Return the current version of the file `key`."""
        return await self._questions.run(self._stat, key)

    async def is_directory(self, key: str) -> bool:
        """Whether `key` is a directory, empty or not."""
        return await self._questions.run(self._is_directory, key)

    async def read(self, key: str, start: int, length: int, *, if_match: ETag | None) -> Chunk:
        """Return the bytes [start, start + length) of `key`."""
        return await self._reads.run(self._read, key, start, length, if_match)

    async def put(self, key: str, data: memoryview, *, overwrite: bool = True) -> ObjectInfo:
        """Write a whole file at once."""
        path = self._writable_path(key)
        status, settled = await self.write(key, lambda: publish_bytes(path, data, overwrite=overwrite))
        return _info(key, status, settled=settled)

    async def begin_upload(self, key: str, size: int, *, overwrite: bool = True) -> "LocalUpload":  # noqa: ARG002 - any size fits
        """Start writing a file in parts; the first one makes it."""
        hidden = HiddenFile(self._writable_path(key))
        await trio.lowlevel.checkpoint()
        return LocalUpload(self, key, hidden, overwrite=overwrite)

    async def aclose(self) -> None:
        """There is nothing to close."""
        await trio.lowlevel.checkpoint()

    async def write(self, key: str, work: Callable[[], T]) -> T:
        """Run the blocking `work`, which writes `key`, in a thread; its errors become those of a write."""
        return await self._writes.run(_writing, f"write {self._name}/{key}", work)

    # ---- in threads

    def _page(self, listing: _Listing, directory: str, marker: str | None, limit: int | None) -> Page:
        path = path_of(self._root, directory)
        if path is None:
            return Page([], [], None)
        what = f"list {self._name}/{directory}"
        try:
            rest, last = self._rests.take(marker) if marker else (None, b"")
            if rest is None:
                above = local_listing.lineage(self._root, path)
                if above is None:
                    return Page([], [], None)
                rest = listing(path, above, last)
            entries = list(itertools.islice(rest, max(1, min(limit or self._page_limit, self._page_limit))))
            following = next(rest, None)
            prefix = f"{directory}/" if directory else ""
            objects = self._infos(path, prefix, [entry.name for entry in entries if not entry.is_directory])
        except (FileNotFoundError, NotADirectoryError):
            if os.path.isdir(self._root):
                return Page([], [], None)
            raise local_errors.root_missing(self._root) from None
        except OSError as error:
            raise local_errors.reading(error, what) from None
        directories = [prefix + key_of(entry.name[:-1]) for entry in entries if entry.is_directory]
        if following is None:
            return Page(objects, directories, None)
        # whoever asks for a short page (a probe) seldom asks for the one after it
        kept = itertools.chain([following], rest) if limit is None else None
        return Page(objects, directories, self._rests.keep(kept, entries[-1].name))

    def _infos(self, directory: bytes, prefix: str, names: list[bytes]) -> list[ObjectInfo]:
        """Return the versions of files in `directory`; those that went away meanwhile are left out."""
        found: dict[bytes, ObjectInfo] = {}
        young: list[bytes] = []
        for name in names:
            try:
                status = os.stat(directory + b"/" + name)
            except local_listing.GONE:
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            if not local_version.is_settled(status, time.time_ns()):
                young.append(name)
            found[name] = _info(prefix + key_of(name), status, settled=True)
        if young:
            local_version.wait_a_tick()  # once for all of them
        for name in young:
            try:
                found[name] = self._settled_info(directory + b"/" + name, prefix + key_of(name))
            except (*local_listing.GONE, NotFoundError):
                del found[name]
        return list(found.values())

    def _stat(self, key: str) -> ObjectInfo:
        path = path_of(self._root, key)
        what = f"stat {self._name}/{key}"
        if path is None:
            raise NotFoundError(f"{what}: no file can have this name")
        try:
            return self._settled_info(path, key)
        except OSError as error:
            raise local_errors.reading(error, what) from None

    def _settled_info(self, path: bytes, key: str) -> ObjectInfo:
        status, settled = local_version.settle(lambda: os.stat(path))
        self._check_regular(status, f"stat {self._name}/{key}")
        return _info(key, status, settled=settled)

    def _check_regular(self, status: os.stat_result, what: str) -> None:
        if stat.S_ISDIR(status.st_mode):
            raise IsDirectoryError(f"{what}: a directory, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise NotFoundError(f"{what}: not a regular file")

    def _is_directory(self, key: str) -> bool:
        path = path_of(self._root, key)
        if path is None:
            return False
        try:
            return stat.S_ISDIR(os.stat(path).st_mode) and local_listing.lineage(self._root, path) is not None
        except OSError as error:
            failure = local_errors.reading(error, f"list {self._name}/{key}")
        if isinstance(failure, NotFoundError):
            return False
        raise failure

    def _read(self, key: str, start: int, length: int, if_match: ETag | None) -> Chunk:
        path = path_of(self._root, key)
        what = f"read {self._name}/{key}"
        if path is None:
            raise NotFoundError(f"{what}: no file can have this name")
        try:
            descriptor = os.open(path, _OPEN_FLAGS)
            try:
                return self._read_version(descriptor, what, start, length, if_match)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise local_errors.reading(error, what) from None

    def _read_version(self, descriptor: int, what: str, start: int, length: int, if_match: ETag | None) -> Chunk:
        if if_match is None:
            before, settled = local_version.settle(lambda: os.fstat(descriptor))
            if not settled:
                raise UnavailableError(f"{what}: it is being written to right now; try again when it is at rest")
        else:
            before = os.fstat(descriptor)  # an ETag given out is settled, so a status equal to it is
        self._check_regular(before, what)
        etag = local_version.etag_of(before)
        if if_match is not None and etag != if_match:
            raise ChangedError(f"{what}: the file was replaced or written to since it was listed")
        data = _pread(descriptor, start, min(length, max(0, before.st_size - start)))
        if local_version.etag_of(os.fstat(descriptor)) != etag:
            raise ChangedError(f"{what}: the file was written to while it was read")
        return Chunk(memoryview(data), etag, before.st_size)

    def _writable_path(self, key: str) -> bytes:
        path = path_of(self._root, key) if key else None
        if path is None:
            raise UsageError(
                f"write {self._name}/{key}: no file can have this name; leave out empty parts, '.' and '..'"
            )
        return path


class LocalUpload:
    """A file in the making; nothing can be seen under its name before `commit` returns."""

    def __init__(self, store: LocalStore, key: str, hidden: HiddenFile, *, overwrite: bool) -> None:
        self._store = store
        self._key = key
        self._hidden = hidden
        self._overwrite = overwrite
        self._parts: dict[int, int] = {}
        self._open = True

    @property
    def part_bytes(self) -> int:
        """The length of every part but the last."""
        return PART_BYTES

    async def part(self, offset: int, data: memoryview) -> None:
        """Send `data`, the bytes from `offset` on."""
        self._check_open()
        if offset % PART_BYTES or not 0 < data.nbytes <= PART_BYTES:
            raise UsageError(f"write {self._store.name}/{self._key}: {data.nbytes} bytes at {offset} are not a part")
        await self._store.write(self._key, lambda: self._hidden.write_at(offset, data))
        self._parts[offset] = data.nbytes

    async def commit(self, size: int) -> ObjectInfo:
        """Publish the file."""
        self._check_open()
        if sorted(self._parts) != list(range(0, size, PART_BYTES)) or sum(self._parts.values()) != size:
            raise UsageError(f"write {self._store.name}/{self._key}: the parts do not make up {size} bytes")
        publish = partial(self._hidden.publish, overwrite=self._overwrite)
        status, settled = await self._store.write(self._key, publish)
        self._open = False
        return _info(self._key, status, settled=settled)

    async def abort(self) -> None:
        """Delete what was sent, also when the caller is being cancelled."""
        self._open = False
        with trio.move_on_after(ABORT_S, shield=True), suppress(MountdError):
            await self._store.write(self._key, self._hidden.discard)

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError(f"write {self._store.name}/{self._key}: the upload is over")


def _writing(what: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        failure = local_errors.writing(error, what)
    raise failure


def _info(key: str, status: os.stat_result, *, settled: bool) -> ObjectInfo:
    etag = local_version.etag_of(status) if settled else local_version.passing_etag(status)
    return ObjectInfo(key=key, size=status.st_size, mtime_ns=status.st_mtime_ns, etag=etag)


def _pread(descriptor: int, start: int, length: int) -> bytes:
    """Return `length` bytes from `start`; fewer only if the file ends before."""
    data = os.pread(descriptor, length, start)
    if len(data) == length or not data:
        return data
    parts = [data]
    while data and (missing := length - sum(map(len, parts))):
        data = os.pread(descriptor, missing, start + length - missing)
        parts.append(data)
    return b"".join(parts)
