"""What fills the disk for one mount, and when: all of it at once, directories in use, what a user asks for.

All of it (a dataset, an input of a run) is kept on disk while the mount lives: what failed is tried again, what did not
fit is looked at again once there is more room, and what was evicted or added since is brought when a reader misses it.
Of several mounts that want the same, one brings it. What a user asks for (`mountd prefetch`) is brought beside that.
"""

import secrets
from collections import deque
from hashlib import blake2b

import trio

from mountd.cache.disk.tier import DiskTier
from mountd.cache.version import ObjectVersion
from mountd.errors import MountdError
from mountd.modes.bring import Bringer, Selection
from mountd.modes.directories_in_use import DirectoriesInUse
from mountd.modes.fill_progress import FillProgress
from mountd.observe.logs import get_logger

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
"""What failed is tried again after pauses that double."""
LOOK_EVERY_S = 5.0
"""How often it is asked whether there is room now, another mount is done, or readers missed something."""
COUNTED_EVERY_S = 60.0
"""How soon everything is counted again because readers missed something."""
SETTLE_S = 2.0
"""How long a directory is in use before it is brought: what its readers fetch meanwhile is offered to the disk anyway,
and a request of ours for it would only be one more."""
MOST_ORDERS = 8
"""Orders of users that `status` tells of."""

log = get_logger("mountd.modes.fill")


class Misses:
    """What readers missed: made before the tier, which tells it, and read by `Fill`."""

    def __init__(self) -> None:
        self.count = 0
        self._in_use = DirectoriesInUse(trio.current_time)
        self._directories: deque[tuple[str, float]] = deque()
        """Those in use, and when they are to be brought."""
        self._more = trio.Event()

    def note(self, version: ObjectVersion) -> None:
        """A reader wanted bytes of `version` that were not on disk."""
        self.count += 1
        directory = self._in_use.missed(version.key)
        if directory is not None:
            self._directories.append((directory, trio.current_time() + SETTLE_S))
            self._more.set()

    async def directory_in_use(self) -> str:
        """Wait for a directory that has been in use for `SETTLE_S` and has not been brought."""
        while not self._directories:
            self._more = trio.Event()
            await self._more.wait()
        directory, settled_at = self._directories.popleft()
        await trio.sleep_until(settled_at)  # each since it is in use, not since the one before it was brought
        return directory


class Fill:
    """What fills the disk for one mount.

    Args:
        tier: fetches and keeps.
        bringer: brings selections.
        misses: what readers missed.
        root: key of the mount's root.
        identity: the same for mounts that show the same; empty: unlike any other.
        whole: bring all there is; else directories once they are in use.
    """

    def __init__(
        self, tier: DiskTier, bringer: Bringer, misses: Misses, *, root: str, identity: str, whole: bool
    ) -> None:
        self._tier = tier
        self._bringer = bringer
        self._misses = misses
        self._root = root
        said = f"{identity}\0{root}" if identity else secrets.token_hex()
        self._what = blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._whole = whole
        self._missed = 0
        """What readers had missed when everything was last brought."""
        self._send_orders, self._orders = trio.open_memory_channel[tuple[Selection, FillProgress]](1000)
        self.progress = FillProgress(state="counting" if whole else "")
        """Of all there is, or of the latest directory in use."""
        self.ordered: deque[FillProgress] = deque(maxlen=MOST_ORDERS)
        """Of what users asked for, the oldest first."""

    @property
    def whole(self) -> bool:
        """All there is is to be brought."""
        return self._whole

    def prefetch(self, patterns: list[str], *, pinned: bool, ticket: str) -> None:
        """Bring what `patterns` name, all of the mount or everything; what is `pinned` stays until it is cleared."""
        progress = FillProgress(ticket=ticket, state="counting")
        self.ordered.append(progress)
        if self._tier.in_trouble:  # at the start it could be in trouble for ever, and who asked waits
            progress.end("failed", "the cache directory is in trouble and left out, see the log")
            return
        selection = Selection(directory=self._root, patterns=tuple(patterns), pinned=pinned)
        try:
            self._send_orders.send_nowait((selection, progress))
        except trio.WouldBlock:
            progress.end("failed", "too much was asked for at once; wait for some of it")

    async def run(self) -> None:
        """Fill until cancelled."""
        await self._tier.wait_ready()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._bring_orders)
            nursery.start_soon(self._keep_whole if self._whole else self._bring_directories)

    # ---- inside

    async def _bring_orders(self) -> None:
        async for selection, progress in self._orders:
            await self._bring(selection, progress)

    async def _bring_directories(self) -> None:
        while True:
            directory = await self._misses.directory_in_use()
            self.progress = FillProgress(state="counting")
            await self._bring(Selection(directory=directory, deep=False), self.progress)

    async def _keep_whole(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            progress = FillProgress(state="counting")
            if not self.progress.is_over:
                self.progress = progress
            await self._bring_whole(progress)
            self.progress = progress
            match progress.state:
                case "complete":
                    pause_s = FIRST_PAUSE_S
                    await trio.sleep(COUNTED_EVERY_S)
                    while self._misses.count == self._missed:  # noqa: ASYNC110 - a look now and then costs readers nothing
                        await trio.sleep(LOOK_EVERY_S)
                case _:
                    await trio.sleep(pause_s)
                    pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
                    while progress.state == "streaming" and progress.need > await self._bringer.room(progress):  # noqa: ASYNC110 - room is no event
                        await trio.sleep(LOOK_EVERY_S)

    async def _bring_whole(self, progress: FillProgress) -> None:
        while await self._tier.is_brought_by_another(self._what):
            if not self.progress.is_over:
                self.progress.state = "waiting"
            await trio.sleep(LOOK_EVERY_S)
        progress.state = "counting"
        selection = Selection(directory=self._root)
        await self._bring(selection, progress)

    async def _bring(self, selection: Selection, progress: FillProgress) -> None:
        try:
            await self._bringer.count(selection, progress)
            if self._whole and not progress.ticket:
                if progress.size_missing:
                    self.progress = progress
                await self._tier.want(progress.taken, self._what, filling=True)
            await self._bringer.bring(selection, progress)
            if self._whole and not progress.ticket:
                self._missed = self._misses.count  # no await since it is complete: what is missed from here on is news
                kept = progress.taken if progress.state in {"complete", "failed"} else 0
                await self._tier.want(kept, self._what, filling=False)
        except MountdError as error:
            progress.end("failed", error.message)
        except Exception:
            log.exception("bringing data to disk failed unexpectedly")  # nobody reads less for it
            progress.end("failed", "an internal error, see the log")
