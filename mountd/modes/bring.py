"""Bringing one selection of objects to disk: count, see whether it fits, fetch what is missing.

- What is to be brought is counted first: it all fits beside what others need, or none of it is brought.
- In the order of the listing, a part at a time, within the memory that waits for the disk.
- Readers first: while one waits for the store, or did a moment ago, no more than one request is under way here; while
  no processor idles either, one is begun twice a second.
- When somebody else takes the disk's room meanwhile, it stops at once, instead of evicting what it has just brought.
"""

import fnmatch
import math
from dataclasses import dataclass

import trio

from mountd.cache.disk.tier import DiskTier
from mountd.cache.version import ObjectVersion
from mountd.errors import ChangedError, MountdError, NotFoundError
from mountd.modes.fill_progress import FillProgress
from mountd.observe.logs import get_logger
from mountd.stores.base import Store
from mountd.units import KIB, MIB, ByteRange

REQUESTS = 32
PART = 4 * MIB
MOST_FAILED = 16
"""Requests that may fail for good before it is given up for now."""
ROOM_EVERY_S = 1.0
"""How often it is asked whether the rest still fits."""
_STEP_S = 0.02
_GRID = 64 * KIB

log = get_logger("mountd.modes.fill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is to be brought."""

    directory: str
    """Its key."""
    deep: bool = True
    """With everything below it; else only its own files."""
    patterns: tuple[str, ...] = ()
    """Of paths below the mount's root; none: everything."""
    pinned: bool = False


class Bringer:
    """Brings selections of one mount.

    Args:
        store: is listed.
        root: key of the mount's root.
        tier: fetches and keeps.
        queue_bytes: the memory that may wait for the disk.
    """

    def __init__(self, store: Store, root: str, tier: DiskTier, *, queue_bytes: int) -> None:
        self._store = store
        self._root = root
        self._tier = tier
        self._part = max(_GRID, min(PART, queue_bytes // 8) // _GRID * _GRID)
        self._running = 0

    async def count(self, selection: Selection, progress: FillProgress) -> None:
        """Count what is wanted and what is missing of it; errors are the store's."""
        await self._tier.catch_up()
        marker: str | None = ""
        while marker is not None:
            await self._tier.give_way()
            versions, marker = await self._page(selection, marker)
            for version in versions:
                progress.count(version.size, sum(gap.length for gap in self._tier.gaps(version)))

    async def room(self, progress: FillProgress) -> int:
        """Return the bytes of disk that may be used for what is missing, without evicting what is wanted."""
        totals = await self._tier.totals()
        if totals is None:
            return 0
        present = min(totals.disk, progress.size_done)
        standing = totals.standing
        others = max(0, totals.pinned - present) + totals.wanted_by_others
        return max(0, standing.most - (standing.charged - totals.disk) - present - others)

    async def bring(self, selection: Selection, progress: FillProgress) -> None:
        """Bring what is missing; `progress`, which was counted, says in the end what came of it."""
        room = await self.room(progress)
        if progress.need > room:
            progress.does_not_fit(room)
            log.info("not brought to disk, it does not fit", bytes=progress.size_total, room=room)
            return
        progress.begin(trio.current_time())
        try:
            async with trio.open_nursery() as nursery:
                await self._bring_pages(selection, progress, nursery)
        except* MountdError as failures:
            progress.end("failed", str(failures.exceptions[0]))
        if progress.state == "downloading":
            if progress.failed:
                progress.end("failed", f"{progress.failed} requests failed: {progress.note}")
            else:
                progress.complete()
        else:
            log.warning("not everything was brought to disk", why=progress.note)

    # ---- inside

    async def _bring_pages(self, selection: Selection, progress: FillProgress, nursery: trio.Nursery) -> None:
        requests = trio.Semaphore(REQUESTS)
        looked = trio.current_time()
        marker: str | None = ""
        while marker is not None:
            versions, marker = await self._page(selection, marker)
            for version in versions:
                gaps = self._tier.gaps(version)
                if selection.pinned and version.size:
                    await self._tier.pin([version])
                parts = [part for gap in gaps for part in _parts(gap, self._part)]
                left = [len(parts)]
                for part in parts:
                    await self._yield_to_readers(requests)
                    if trio.current_time() - looked >= ROOM_EVERY_S:
                        looked = trio.current_time()
                        await self._check_room(progress)
                    if progress.state != "downloading":
                        requests.release()
                        return
                    self._running += 1
                    nursery.start_soon(self._bring_part, version, part, selection.pinned, left, progress, requests)

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
            kept = await self._tier.bring(version, part, pinned=pinned)
        except (ChangedError, NotFoundError):
            progress.forget(part.length)  # what is there now is another version
            progress.files_gone += left[0] > 0
            left[0] = 0
        except MountdError as error:
            progress.failed += 1
            progress.note = error.message
            if progress.failed >= MOST_FAILED and progress.state == "downloading":
                progress.end("failed", error.message)
        else:
            if kept:
                progress.keep(part.length)
                left[0] -= 1
                progress.files_done += left[0] == 0
            elif progress.state == "downloading":
                if self._tier.in_trouble:
                    progress.end("failed", "the disk is in trouble")
                else:
                    progress.end("streaming", "the disk has no more room")
        finally:
            self._running -= 1
            requests.release()

    async def _check_room(self, progress: FillProgress) -> None:
        room = await self.room(progress)
        if progress.state == "downloading" and progress.need > room:
            progress.does_not_fit(room)

    async def _yield_to_readers(self, requests: trio.Semaphore) -> None:
        """Take a place for one more request; while readers wait there is but one."""
        await requests.acquire()
        while self._running and self._tier.readers_wait:  # noqa: ASYNC110 - silence is no event
            await trio.sleep(_STEP_S)
        await self._tier.give_way()

    async def _page(self, selection: Selection, marker: str) -> tuple[list[ObjectVersion], str | None]:
        """Return what is wanted of one page of the listing, and the marker of the next; "" is the first."""
        look = self._store.walk_page if selection.deep else self._store.list_page
        page = await look(selection.directory, marker or None)
        versions = [
            ObjectVersion(info.key, info.etag, info.size)
            for info in page.objects
            if self._is_wanted(info.key, selection)
        ]
        return versions, page.next

    def _is_wanted(self, key: str, selection: Selection) -> bool:
        path = key[len(self._root) + 1 :] if self._root else key
        if any(part in {"", ".", ".."} for part in path.split("/")):
            return False  # no path of the mount leads there
        return not selection.patterns or any(_matches(path, pattern) for pattern in selection.patterns)


def _matches(path: str, pattern: str) -> bool:
    pattern = pattern.strip("/")
    return path == pattern or path.startswith(f"{pattern}/") or fnmatch.fnmatchcase(path, pattern)


def _parts(gap: ByteRange, length: int) -> list[ByteRange]:
    count = math.ceil(gap.length / length)
    return [ByteRange(gap.start + n * length, min(gap.stop, gap.start + (n + 1) * length)) for n in range(count)]
