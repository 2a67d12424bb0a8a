"""Bringing to disk what nobody has asked for yet: a mount that turns into a download.

- What is to be brought is counted first: it all fits, or none of it is brought and the mount streams.
- In the order of the listing, a part at a time, within the memory that waits for the disk.
- Readers first: while one waits for the store, or did a moment ago, no more than one request is under way here.
- Of a bare datastore only directories in real use are filled, those in which three different files were read:
  somebody's `ls` does not download a container.
"""

import fnmatch
import math
from collections import deque
from dataclasses import dataclass

import trio

from mountd.cache.disk.disk_cache import Piece
from mountd.cache.disk.tier import DiskTier
from mountd.cache.version import Fetch, ObjectVersion
from mountd.errors import ChangedError, MountdError, NotFoundError
from mountd.modes.fill_progress import FillProgress
from mountd.observe.logs import get_logger
from mountd.stores.base import Store
from mountd.units import KIB, MIB, ByteRange, format_size

FILES_IN_USE = 3
"""Different files read in one directory that make it one in use."""
MOST_WATCHED = 10_000
"""Directories whose readers are counted."""
REQUESTS = 32
QUIET_S = 0.1
"""How long no reader must have waited for the store before it is used in full."""
PART = 4 * MIB
_STEP_S = 0.02
_GRID = 64 * KIB

log = get_logger("mountd.modes.fill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be brought."""

    directory: str
    """Its key."""
    deep: bool = True
    """With everything below it; else only its own files."""
    patterns: tuple[str, ...] = ()
    """Of paths below the mount's root; none: everything."""
    pinned: bool = False


class Fill:
    """What fills the disk for one mount.

    Args:
        store: is listed.
        root: key of the mount's root.
        tier: takes the bytes.
        fetch: brings them.
        queue_bytes: the memory that may wait for the disk.
    """

    def __init__(self, store: Store, root: str, tier: DiskTier, fetch: Fetch, *, queue_bytes: int) -> None:
        self._store = store
        self._root = root
        self._tier = tier
        self._fetch = fetch
        self._part = max(_GRID, min(PART, queue_bytes // 8) // _GRID * _GRID)
        self._orders: deque[Wanted] = deque()
        self._work = trio.Event()
        self._in_use: dict[str, set[str]] = {}
        self._running = 0
        self.progress = FillProgress()

    def begin(self, *, whole: bool) -> None:
        """Bring all there is if `whole`, else directories once they are in use."""
        if whole:
            self.order(Wanted(directory=self._root))
        else:
            self._tier.on_read = self._note

    def order(self, wanted: Wanted) -> None:
        """Bring `wanted` after what was ordered before."""
        if not self._orders and not self.progress.active:
            self.progress = FillProgress(state="counting", started=trio.current_time())
        self._orders.append(wanted)
        self._work.set()

    def prefetch(self, patterns: list[str], *, pinned: bool) -> None:
        """Bring what `patterns` name, all of the mount or everything; what is `pinned` stays until it is cleared."""
        self.order(Wanted(directory=self._root, patterns=tuple(patterns), pinned=pinned))

    async def run(self) -> None:
        """Do what is ordered, until cancelled."""
        await self._tier.wait_ready()
        while True:
            await self._work.wait()
            while self._orders:
                try:
                    await self._bring_all(self._orders[0])
                except Exception:
                    log.exception("bringing data to disk failed unexpectedly")  # nobody reads less for it
                    self.progress.end("failed", "an internal error, see the log")
                self._orders.popleft()
            self._work = trio.Event()

    # ---- inside

    def _note(self, version: ObjectVersion) -> None:
        directory = version.key.rpartition("/")[0]
        if len(self._in_use) >= MOST_WATCHED and directory not in self._in_use:
            self._in_use.clear()
        seen = self._in_use.setdefault(directory, set())
        if len(seen) < FILES_IN_USE:
            seen.add(version.key)
            if len(seen) == FILES_IN_USE:
                self.order(Wanted(directory=directory, deep=False))

    async def _bring_all(self, wanted: Wanted) -> None:
        progress = self.progress = FillProgress(state="counting", started=trio.current_time())
        try:
            need = await self._count(wanted, progress)
            room = await self._room(progress)
            if need > room:
                progress.end("streaming", f"{format_size(progress.size_total)} does not fit in {format_size(room)}")
                log.info("not brought to disk, it does not fit", bytes=progress.size_total, room=room)
                return
            progress.begin(trio.current_time())
            async with trio.open_nursery() as nursery:
                requests = trio.Semaphore(REQUESTS)
                marker: str | None = ""
                while marker is not None and progress.state == "downloading":
                    versions, marker = await self._page(wanted, marker)
                    for version in versions:
                        await self._bring(version, wanted, progress, nursery, requests)
        except* MountdError as failures:
            progress.end("failed", str(failures.exceptions[0]))
        if progress.state != "downloading":
            log.warning("not everything was brought to disk", why=progress.note)
        elif progress.failed:
            progress.end("failed", f"{progress.failed} files could not be brought: {progress.note}")
        else:
            progress.end("complete", "")

    async def _count(self, wanted: Wanted, progress: FillProgress) -> int:
        """Count what is wanted; return the bytes of disk that are missing for it."""
        need = 0
        marker: str | None = ""
        while marker is not None:
            versions, marker = await self._page(wanted, marker)
            for version in versions:
                missing = sum(gap.length for gap in await self._tier.gaps(version)) if version.size else 0
                progress.count(version.size, missing)
                need += missing + (8 * KIB if missing else 0)  # its last block, its place in directory and index
        return need

    async def _room(self, progress: FillProgress) -> int:
        """Return the bytes of disk that may be used for what is missing, without evicting what is wanted."""
        totals = await self._tier.totals()
        if totals is None:
            return 0
        present = progress.size_total - progress.size_missing
        standing = totals.standing
        others_pinned = max(0, totals.pinned - present)
        return max(0, standing.most - (standing.charged - totals.disk) - present - others_pinned)

    async def _bring(
        self,
        version: ObjectVersion,
        wanted: Wanted,
        progress: FillProgress,
        nursery: trio.Nursery,
        requests: trio.Semaphore,
    ) -> None:
        if progress.state != "downloading":
            return
        gaps = await self._tier.gaps(version) if version.size else []
        if wanted.pinned and version.size:
            await self._tier.pin([version])
        parts = [part for gap in gaps for part in _parts(gap, self._part)]
        left = [len(parts)]
        if not parts:
            progress.files_done += 1
        for part in parts:
            await self._yield_to_readers()
            await self._tier.room(part.length)
            await requests.acquire()
            self._running += 1
            nursery.start_soon(self._bring_part, version, part, wanted.pinned, left, progress, requests)

    async def _bring_part(
        self,
        version: ObjectVersion,
        part: ByteRange,
        pinned: bool,
        left: list[int],
        progress: FillProgress,
        requests: trio.Semaphore,
    ) -> None:
        try:
            data = await self._fetch(version, part)
        except (ChangedError, NotFoundError):
            progress.forget(part.length)  # what is there now is another version
            await self._tier.give_back(part.length)
        except MountdError as error:
            progress.failed += 1
            progress.note = error.message
            await self._tier.give_back(part.length)
        else:
            if await self._tier.keep(Piece(version, part.start, data, pinned)):
                progress.keep(part.length)
                left[0] -= 1
                progress.files_done += left[0] == 0
            elif progress.state == "downloading":
                progress.end("streaming", "the disk has no more room, or is in trouble")
        finally:
            self._running -= 1
            requests.release()

    async def _yield_to_readers(self) -> None:
        tier = self._tier
        while self._running and (tier.demand or trio.current_time() - tier.last_demand < QUIET_S):  # noqa: ASYNC110 - silence is no event
            await trio.sleep(_STEP_S)

    async def _page(self, wanted: Wanted, marker: str) -> tuple[list[ObjectVersion], str | None]:
        """Return what is wanted of one page of the listing, and the marker of the next; "" is the first."""
        look = self._store.walk_page if wanted.deep else self._store.list_page
        page = await look(wanted.directory, marker or None)
        versions = [
            ObjectVersion(info.key, info.etag, info.size) for info in page.objects if self._is_wanted(info.key, wanted)
        ]
        return versions, page.next

    def _is_wanted(self, key: str, wanted: Wanted) -> bool:
        path = key[len(self._root) + 1 :] if self._root else key
        if any(part in {"", ".", ".."} for part in path.split("/")):
            return False  # no path of the mount leads there
        return not wanted.patterns or any(_matches(path, pattern) for pattern in wanted.patterns)


def _matches(path: str, pattern: str) -> bool:
    pattern = pattern.strip("/")
    return path == pattern or path.startswith(f"{pattern}/") or fnmatch.fnmatchcase(path, pattern)


def _parts(gap: ByteRange, length: int) -> list[ByteRange]:
    count = math.ceil(gap.length / length)
    return [ByteRange(gap.start + n * length, min(gap.stop, gap.start + (n + 1) * length)) for n in range(count)]
