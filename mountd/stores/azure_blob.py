"""A Blob container as a flat store.

Reads, listings and questions about single names are the loop's own (`azure_direct`) as long as all goes well and they
are not too large for it, on connections that they share: the read that follows a HEAD finds one. Other reads of plain
names go through obstore (`azure_reads`), everything else through the SDK's pipeline (`azure_rest`). All have the same
semantics, timeouts and errors, and none tries anything twice. Calls run in lanes of threads: reads, questions (HEAD,
LIST) and writes cannot starve each other.
"""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import trio

from mountd.aio.threads import Lane
from mountd.catalog.model import BlobSpec
from mountd.errors import (
    ChangedError,
    CorruptError,
    IsDirectoryError,
    NonsenseError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from mountd.stores import azure_upload
from mountd.stores.azure_direct import AzureDirect
from mountd.stores.azure_listing import holds_entries, marks_folder, parse_page, plain_marker
from mountd.stores.azure_place import Place, Timeouts, can_exist, is_ordinary, is_plain
from mountd.stores.azure_reads import AzureReads
from mountd.stores.azure_rest import AzureRest
from mountd.stores.base import Capabilities, Chunk, ObjectInfo, Page, ReadDone
from mountd.stores.http_answer import DeclinedError
from mountd.units import ETag

PAGE_LIMIT = 5000
READS = 192
QUESTIONS = 48
WRITES = 32
SLOW_DOWN_S = 30.0
"""For how long reads use the SDK after the service asked to slow down: it shows `Retry-After`, which obstore hides."""
SLOW_LINK_S = 600.0
"""For how long reads use the SDK after one took too long: its bodies come in pieces, by which progress is seen."""
_NOTHING = memoryview(b"")
_TRIES_AT_THE_END = 3
_CONTENT_RANGE = re.compile(r"bytes (\d+)--?\d+/(\d+)")


class AzureBlobStore:
    """One container.

    Args:
        spec: where it is and how to get in.
        timeouts: what one request may take.
        page_limit: most entries to ask for in one page.

    Raises:
        DeniedError: the credential is malformed.
    """

    def __init__(self, spec: BlobSpec, *, timeouts: Timeouts | None = None, page_limit: int = PAGE_LIMIT) -> None:
        timeouts = timeouts or Timeouts()
        self._place = Place.of(spec)
        self._page_limit = page_limit
        self._fast = AzureReads(spec, timeouts)
        self._direct = AzureDirect(spec, timeouts)
        self._rest = AzureRest(spec, timeouts, connections=QUESTIONS + WRITES)
        self._reads = Lane("blob reads", READS)
        self._questions = Lane("blob questions", QUESTIONS)
        self._writes = Lane("blob writes", WRITES)

    @property
    def name(self) -> str:
        """`account/container`."""
        return self._place.name

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        return Capabilities(writable=True, page_limit=self._page_limit)

    async def list_page(self, directory: str, marker: str | None = None, *, limit: int | None = None) -> Page:
        """Return a page of the direct children of `directory`."""
        return await self._list(directory, marker, limit, "/")

    async def walk_page(self, directory: str, marker: str | None = None) -> Page:
        """Return a page of everything below `directory`."""
        return await self._list(directory, marker, None, "")

    async def page_ahead(
        self, directory: str, marker: str | None, *, deep: bool, following: Callable[[str], None]
    ) -> Page:
        """Return a page of `directory`, of everything below it if `deep`; `following` is told what comes after it."""
        return await self._list(directory, marker, None, "" if deep else "/", following)

    async def stat(self, key: str) -> ObjectInfo:
        """Return the current version of the blob `key`."""
        if can_exist(key) and is_plain(key):
            with suppress(DeclinedError):
                return await self._direct.head(self._place.what("stat", key), key)
        return await self._questions.run(self._stat, key, None)

    async def is_directory(self, key: str) -> bool:
        """Whether a blob's name begins with `key` and a slash."""
        if not can_exist(key):
            return False
        what = self._place.what("list", key)
        query = {"restype": "container", "comp": "list", "prefix": f"{key}/", "maxresults": "1"}
        found, marker = False, None
        while not found:  # a page may be empty and still not be the last
            found, marker = await self._short_page(what, query)
            if marker is None:
                break
            query["marker"] = marker
        return found

    async def read(self, key: str, start: int, length: int, *, if_match: ETag | None) -> Chunk:
        """Return the bytes [start, start + length) of `key`."""
        asked = False
        if length > 0 and can_exist(key) and is_plain(key):
            try:
                chunk = await self._direct.get(self._place.what("read", key), key, start, length, if_match)
            except DeclinedError:
                pass
            except ChangedError:
                await self.stat(key)  # 412 is also the answer when nothing is there any more
                raise
            else:
                if chunk is not None:
                    return chunk
                asked = True
        return await self._reads.run(self._read, key, start, length, if_match, asked)

    def begin_read(self, key: str, start: int, length: int, *, if_match: ETag | None, done: ReadDone) -> bool:
        """Start to read without a task; False: not now."""
        if length <= 0 or not (is_ordinary(key) or (can_exist(key) and is_plain(key))):
            return False
        return self._direct.begin(key, start, length, if_match, done)

    async def serve(self, moved: Callable[[], None]) -> None:
        """Call back those who began to read, until cancelled."""
        await self._direct.serve(moved)

    async def put(self, key: str, data: memoryview, *, overwrite: bool = True) -> ObjectInfo:
        """Write a whole blob at once; the service takes at most 5,000 MiB."""
        what = self._check_writable(key)
        return await self._writes.run(lambda: azure_upload.put_blob(self._rest, what, key, data, overwrite=overwrite))

    async def begin_upload(self, key: str, size: int, *, overwrite: bool = True) -> "AzureUpload":
        """Start writing a blob in blocks."""
        what = self._check_writable(key)
        await trio.lowlevel.checkpoint()
        blocks = azure_upload.BlockUpload(self._rest, what, key, overwrite=overwrite)
        return AzureUpload(blocks, self._writes, what, azure_upload.block_bytes(size))

    async def aclose(self) -> None:
        """Close the connections."""
        self._direct.close()
        await self._writes.run(self._rest.close)

    async def _short_page(self, what: str, query: Mapping[str, str]) -> tuple[bool, str | None]:
        """Return whether a page of one entry holds it, and what marks the next page."""
        with suppress(DeclinedError):
            return holds_entries(await self._direct.short_page(what, query), what)
        return await self._questions.run(lambda: holds_entries(self._page(what, query), what))

    async def _list(
        self,
        directory: str,
        marker: str | None,
        limit: int | None,
        delimiter: str,
        following: Callable[[str], None] | None = None,
    ) -> Page:
        if directory and not can_exist(directory):
            return Page([], [], None)
        what = self._place.what("list", directory)
        prefix = f"{directory}/" if directory else ""
        query = {"restype": "container", "comp": "list", "include": "metadata", "prefix": prefix}
        query["maxresults"] = str(max(1, min(limit or self._page_limit, self._page_limit)))
        if delimiter:
            query["delimiter"] = delimiter
        if marker:
            query["marker"] = marker
        with suppress(DeclinedError):
            body = await self._direct.page(what, query)
            if following is not None and (next_marker := plain_marker(body)) is not None:
                following(next_marker)
            return await self._questions.run(parse_page, body, prefix, what)
        return await self._questions.run(lambda: parse_page(self._page(what, query), prefix, what))

    # ---- in threads

    def _page(self, what: str, query: Mapping[str, str]) -> bytes:
        return self._rest.expect(what, self._rest.send(what, "GET", None, query=query), (200,)).body

    def _stat(self, key: str, if_match: ETag | None) -> ObjectInfo:
        what = self._place.what("stat", key)
        if not can_exist(key):
            raise NotFoundError(f"{what}: no blob can have this name")
        headers = {"If-Match": if_match} if if_match else {}
        answer = self._rest.expect(what, self._rest.send(what, "HEAD", key, headers=headers), (200,))
        size = int(answer.header(what, "Content-Length"))
        is_marker = size == 0 and marks_folder("hdi_isfolder", answer.headers.get("x-ms-meta-hdi_isfolder"))
        if is_marker or key.endswith("/"):
            raise IsDirectoryError(f"{what}: a directory, not a blob")
        return answer.info(what, key, size)

    def _read(self, key: str, start: int, length: int, if_match: ETag | None, asked: bool) -> Chunk:
        """Return the bytes; `asked`: the service has just said that none of them exists."""
        what = self._place.what("read", key)
        if not can_exist(key):
            raise NotFoundError(f"{what}: no blob can have this name")
        askable = length > 0 and not key.endswith("/")
        for turn in range(_TRIES_AT_THE_END):
            if askable and not (asked and turn == 0):
                try:
                    chunk = self._get(what, key, start, length, if_match)
                except ChangedError:
                    self._stat(key, None)  # 412 is also the answer when nothing is there any more
                    raise
                if chunk is not None:
                    return chunk
            info = self._stat(key, if_match)  # no byte to ask for: what is there?
            if start >= info.size or length <= 0:
                return Chunk(_NOTHING, info.etag, info.size)
        raise UnavailableError(f"{what}: it changes with every look; try again when it is at rest")

    def _get(self, what: str, key: str, start: int, length: int, if_match: ETag | None) -> Chunk | None:
        """Return the bytes that exist in the range, or None if not one does."""
        slow_until = max(self._fast.throttled_at + SLOW_DOWN_S, self._fast.too_slow_at + SLOW_LINK_S)
        if is_plain(key) and time.monotonic() >= slow_until:
            return self._fast.get(what, key, start, length, if_match)
        headers = {"x-ms-range": f"bytes={start}-{start + length - 1}"}
        if if_match is not None:
            headers["If-Match"] = if_match
        answer = self._rest.send(what, "GET", key, headers=headers)
        if answer.status == 416:
            return None
        self._rest.expect(what, answer, (206,))
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None:
            raise NonsenseError(f"{what}: the answer does not say which bytes it holds")
        first, size = int(found[1]), int(found[2])
        expected = min(length, size - start)
        if first != start or len(answer.body) != expected:
            raise CorruptError(f"{what}: {len(answer.body)} bytes from {first} came, not the {expected} from {start}")
        return Chunk(memoryview(answer.body), answer.info(what, key, size).etag, size)

    def _check_writable(self, key: str) -> str:
        what = self._place.what("write", key)
        if not can_exist(key) or key.endswith("/"):
            raise UsageError(f"{what}: no blob can have this name; leave out '.' and '..' and the slash at the end")
        return what


class AzureUpload:
    """A blob in the making; nothing can be seen under its name before `commit` returns."""

    def __init__(self, blocks: azure_upload.BlockUpload, lane: Lane, what: str, part_bytes: int) -> None:
        self._blocks = blocks
        self._lane = lane
        self._what = what
        self._part_bytes = part_bytes
        self._parts: dict[int, int] = {}
        self._open = True

    @property
    def part_bytes(self) -> int:
        """The length of every part but the last."""
        return self._part_bytes

    async def part(self, offset: int, data: memoryview) -> None:
        """Send `data`, the bytes from `offset` on."""
        self._check_open()
        index, rest = divmod(offset, self._part_bytes)
        if rest or not 0 < data.nbytes <= self._part_bytes:
            raise UsageError(f"{self._what}: {data.nbytes} bytes at {offset} are not a part")
        await self._lane.run(lambda: self._blocks.put_block(index, data))
        self._parts[offset] = data.nbytes

    async def commit(self, size: int) -> ObjectInfo:
        """Publish the blob."""
        self._check_open()
        if sorted(self._parts) != list(range(0, size, self._part_bytes)) or sum(self._parts.values()) != size:
            raise UsageError(f"{self._what}: the parts do not make up {size} bytes")
        info = await self._lane.run(self._blocks.commit, len(self._parts), size)
        self._open = False
        return info

    async def abort(self) -> None:
        """Send no more. The service forgets uncommitted blocks by itself."""
        self._open = False
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError(f"{self._what}: the upload is over")
