"""Files on web servers as a store: a fixed set of them, of any number of servers, for reading only.

Directories are what the keys imply. A listing asks every file for its version, many side by side; a file that its
server says is gone is left out, every other failure is the listing's own.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator
from hashlib import sha256

import trio

from mountd.aio.threads import Lane
from mountd.catalog.model import WebSpec
from mountd.errors import MountdError, NotFoundError, ReadOnlyError
from mountd.stores.azure_place import Timeouts
from mountd.stores.base import Capabilities, Chunk, ObjectInfo, Page, Upload
from mountd.stores.web_client import Target
from mountd.stores.web_copies import Copies
from mountd.stores.web_reads import WebReads
from mountd.units import ETag

PAGE_LIMIT = 200
"""Each entry costs a request; a page has to be whole before the deadline of one call."""
READS = 64
QUESTIONS = 48


class WebStore:
    """A set of web files.

    Args:
        spec: the files.
        timeouts: what one request may take.
        page_limit: most entries in one page.
        copies: where whole files are kept; the store's own, with the usual bounds, unless given.
    """

    def __init__(
        self,
        spec: WebSpec,
        *,
        timeouts: Timeouts | None = None,
        page_limit: int = PAGE_LIMIT,
        copies: Copies | None = None,
    ) -> None:
        timeouts = timeouts or Timeouts()
        self._name = spec.name
        self._page_limit = page_limit
        files = sorted((file.key, file.url) for file in spec.files)
        self._keys = [key for key, _ in files]
        self._urls = [url for _, url in files]
        self._web = WebReads(timeouts, copies or Copies(call_s=timeouts.total_s))
        self._opened_ns = int(time.time()) * 1_000_000_000
        self._reads = Lane("web reads", READS)
        self._questions = Lane("web questions", QUESTIONS)

    @property
    def name(self) -> str:
        """What the store is, for people."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        return Capabilities(writable=False, page_limit=self._page_limit, lists_by_asking=False)

    async def list_page(self, directory: str, marker: str | None = None, *, limit: int | None = None) -> Page:
        """Return a page of the direct children of `directory`."""
        return await self._page(directory, marker, limit, delimiter=True)

    async def walk_page(self, directory: str, marker: str | None = None) -> Page:
        """Return a page of everything below `directory`."""
        return await self._page(directory, marker, None, delimiter=False)

    async def stat(self, key: str) -> ObjectInfo:
        """Return the current version of the file `key`; its date is this store's start if the server knows none."""
        url = self._url("stat", key)
        version = await self._questions.run(self._web.look, url)
        modified_ns = self._opened_ns if version.modified_s is None else version.modified_s * 1_000_000_000
        return ObjectInfo(key, version.size, modified_ns, version.etag)

    async def is_directory(self, key: str) -> bool:
        """Whether a file's key begins with `key` and a slash; asks nobody."""
        await trio.lowlevel.checkpoint()
        index = bisect_left(self._keys, key + "/")
        return index < len(self._keys) and self._keys[index].startswith(key + "/")

    async def read(self, key: str, start: int, length: int, *, if_match: ETag | None) -> Chunk:
        """Return the bytes [start, start + length) of the file `key`."""
        return await self._reads.run(self._web.read, self._url("read", key), start, length, if_match)

    async def put(self, key: str, data: memoryview, *, overwrite: bool = True) -> ObjectInfo:  # noqa: ARG002 - refused
        """Refuse."""
        raise self._read_only(key)

    async def begin_upload(self, key: str, size: int, *, overwrite: bool = True) -> Upload:  # noqa: ARG002 - refused
        """Refuse."""
        raise self._read_only(key)

    async def aclose(self) -> None:
        """Drop copies and close connections."""
        await self._questions.run(self._web.close)

    def cache_place(self, key: str) -> tuple[str, str]:
        """Return what tells the file `key` from every other file of the web, and its key there; holds no secret.

        Raises:
            NotFoundError: there is no such file.
        """
        url = Target.of(self._url("cache", key)).url
        return f"web:{sha256(url.encode()).hexdigest()}", key.rpartition("/")[2]

    # ---- inside

    def _read_only(self, key: str) -> ReadOnlyError:
        return ReadOnlyError(f"write {self._name}/{key}: web files are for reading only")

    def _url(self, verb: str, key: str) -> str:
        index = bisect_left(self._keys, key)
        if index == len(self._keys) or self._keys[index] != key:
            raise NotFoundError(f"{verb} {self._name}/{key}: no such file")
        return self._urls[index]

    async def _page(self, directory: str, marker: str | None, limit: int | None, *, delimiter: bool) -> Page:
        prefix = directory + "/" if directory else ""
        room = max(1, min(limit or self._page_limit, self._page_limit))
        keys: list[str] = []
        directories: list[str] = []
        following = None
        for name in self._entries(prefix, marker or prefix, delimiter=delimiter):
            if len(keys) + len(directories) == room:
                following = name
                break
            if name.endswith("/"):
                directories.append(name.removesuffix("/"))
            else:
                keys.append(name)
        return Page(await self._stat_all(keys), directories, following)

    async def _stat_all(self, keys: list[str]) -> list[ObjectInfo]:
        found: dict[str, ObjectInfo] = {}
        failures: list[MountdError] = []

        async def ask(key: str) -> None:
            try:
                found[key] = await self.stat(key)
            except NotFoundError:
                pass
            except MountdError as error:  # through the nursery it would come out as a group
                failures.append(error)
                nursery.cancel_scope.cancel()

        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(ask, key)
        if failures:
            raise failures[0]
        return [found[key] for key in keys if key in found]

    def _entries(self, prefix: str, start: str, *, delimiter: bool) -> Iterator[str]:
        """Yield keys and, ending in a slash, directories from `start` on, in the order of keys."""
        index = bisect_left(self._keys, start)
        while index < len(self._keys) and self._keys[index].startswith(prefix):
            key = self._keys[index]
            slash = key.find("/", len(prefix)) if delimiter else -1
            if slash < 0:
                yield key
                index += 1
            else:
                yield key[: slash + 1]
                index = bisect_left(self._keys, key[:slash] + "0", lo=index)  # "0" is the character after "/"
