"""Files of the disk cache that the kernel may read itself: whole, and every checksum looked at once in this mount.

- Whoever asks for a version waits for nothing: a file that was not looked at yet is none, and is looked at from then
  on, one file after the other, in the background, while readers come first.
- It is looked at as the disk has it: what is only right in memory would be passed through until memory is short.
- What was found is bound to the file as it was, by inode and time of change: another file under the name of a version
  (it was evicted and came back) counts as not looked at, also where this process has not heard of it yet.
- After trouble with the disk nothing that was found before counts.
- What is open is not evicted: not by this process from the first moment on, by others from its next upkeep on.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

import trio

from mountd.aio.kernel_reads import is_local, open_now
from mountd.aio.threads import Lane
from mountd.cache.disk import files
from mountd.cache.disk.disk_cache import DiskCache
from mountd.cache.disk.tier import DiskTier
from mountd.cache.version import ObjectVersion
from mountd.units import MIB, ByteRange

STEP = 8 * MIB
"""Bytes that are looked at before readers have their turn."""
STEP_S = 30.0
"""How long the disk may take for them."""
MOST_WAITING = 1000
"""Files that wait to be looked at; more are looked at when they are asked for again."""
FEW = 1000
"""Results that are kept without asking whether their objects are still here."""

T = TypeVar("T")


class _Identity(NamedTuple):
    """What tells a file from any other, and from itself after a change."""

    device: int
    inode: int
    changed_ns: int
    size: int


class VerifiedFile:
    """One file, as it was when it was looked at."""

    def __init__(self, owner: "VerifiedFiles", cache: DiskCache, digest: int, identity: _Identity) -> None:
        self._owner = owner
        self._cache = cache
        self._digest = digest
        self._path = cache.layout.file(digest)
        self._identity = identity

    def __eq__(self, other: object) -> bool:
        """Whether it is the same file, as it was."""
        return isinstance(other, VerifiedFile) and self._identity == other._identity

    def __hash__(self) -> int:
        """Return the same for equals."""
        return hash(self._identity)

    def open(self) -> int:
        """Return a descriptor of it; blocks.

        Raises:
            FileNotFoundError: it is gone, or not the same any more.
        """
        descriptor = files.open_to_read(self._path)
        if self._keeps(descriptor):
            return descriptor
        raise FileNotFoundError(f"{self._path}: is another file than was looked at")

    def open_now(self) -> int | None:
        """Return a descriptor of it if that takes no disk; None: `open` knows more; does not block."""
        descriptor = open_now(self._path) if self._owner.is_local else None
        with suppress(OSError):  # `open` will say why
            if descriptor is not None and self._keeps(descriptor):
                return descriptor
        return None

    def opened(self) -> None:
        """Keep it from eviction; as often as `closed` is called."""
        self._cache.opened(self._digest)

    def closed(self) -> None:
        """It need not be kept any more."""
        self._cache.closed(self._digest)

    def failed(self, error: Exception) -> None:
        """`open` raised `error`, or did not come back in time."""
        self._owner.forget(self._digest, error)

    def _keeps(self, descriptor: int) -> bool:
        """Whether it is what was looked at; closed if not, or if that cannot be told."""
        same = False
        try:
            same = _identity(os.fstat(descriptor)) == self._identity
        finally:
            if not same:
                os.close(descriptor)
        return same


class VerifiedFiles:
    """Those of one mount; they are looked at while `run` runs.

    Args:
        cache: what they lie in.
        tier: knows how the disk is, and whether readers wait.
    """

    def __init__(self, cache: DiskCache, tier: DiskTier) -> None:
        self._cache = cache
        self._tier = tier
        self._lane = Lane("disk checks", 1)
        self._verified: dict[int, _Identity] = {}
        self._many = FEW
        self._looking: set[int] = set()
        """What waits to be looked at, or is."""
        self._queue, self._queued = trio.open_memory_channel[tuple[int, ObjectVersion]](MOST_WAITING)
        self.is_local = False
        """Opening a file waits for nobody but the disk."""
        self._errors = 0
        """Of the tier, when what was found was found."""

    def find(self, version: ObjectVersion) -> VerifiedFile | None:
        """Return the file of a version; None: not all of it is here, or it has to be looked at, which begins now."""
        if self._tier.counters.errors != self._errors:
            self._errors = self._tier.counters.errors
            self._verified.clear()
        if self._tier.in_trouble:
            return None
        digest = self._cache.digest(version)
        if digest is None:
            return None
        if not self._cache.is_whole(digest):
            self._verified.pop(digest, None)
            return None
        identity = self._verified.get(digest)
        if identity is not None:
            return VerifiedFile(self, self._cache, digest, identity)
        if digest not in self._looking:
            try:
                self._queue.send_nowait((digest, version))
            except trio.WouldBlock:
                return None
            self._looking.add(digest)
        return None

    async def run(self) -> None:
        """Look at files, until cancelled."""
        with suppress(OSError, trio.TooSlowError, RuntimeError):  # the last: no thread to be had
            self.is_local = await self._call(is_local, str(self._cache.layout.objects))
        async for digest, version in self._queued:
            try:
                identity = await self._look_at(digest, version)
            except FileNotFoundError:  # evicted meanwhile
                identity = None
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the disk, the mount goes on
                self._tier.report(error)
                identity = None
            self._looking.discard(digest)
            if identity is not None:
                self._verified[digest] = identity
                self._thin_out()

    def forget(self, digest: int, error: Exception) -> None:
        """A file could not be opened."""
        self._verified.pop(digest, None)
        if not isinstance(error, FileNotFoundError):
            self._tier.report(error)

    # ---- inside

    async def _look_at(self, digest: int, version: ObjectVersion) -> _Identity | None:
        """Return what a file is, if all of its bytes are those that were written, read from the disk."""
        errors = self._tier.counters.errors
        path = self._cache.layout.file(digest)
        opened: list[int] = []
        try:
            before = await self._call(_open, path, opened)
            # Through one descriptor from its first byte to its last: the pages that the kernel makes of what it reads
            # ahead grow with each read, and readers copy from large ones (256 instead of 4) a sixth faster.
            (descriptor,) = opened
            if before.size != version.size:
                return None
            for start in range(0, version.size, STEP):
                await self._tier.give_way()
                await self._call(files.write_back, descriptor, start, min(version.size, start + STEP))
            await self._call(files.leave_memory, descriptor)
            for start in range(0, version.size, STEP):
                await self._tier.give_way()
                if not await self._call(self._is_right, descriptor, version, start, min(version.size, start + STEP)):
                    return None
            after = await self._call(_identity_at, path)
            return after if after == before and self._tier.counters.errors == errors else None
        finally:
            self._close(opened)

    def _close(self, opened: list[int]) -> None:
        """Have the descriptors of a list closed after whatever the lane's thread may still do with them."""
        try:
            self._lane.post(_close_all, opened)
        except RuntimeError:  # no thread to be had, so none has them
            _close_all(opened)

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        with trio.fail_after(STEP_S):
            return await self._lane.run(function, *args)

    def _is_right(self, descriptor: int, version: ObjectVersion, start: int, stop: int) -> bool:
        """Whether the bytes [start, stop) of an open file are those that were written; in a thread."""
        for position in range(start, stop, MIB):
            held = self._cache.find(version, ByteRange(position, min(stop, position + MIB)))
            if held is None or self._cache.read(held, descriptor) is None:
                return False
        return True

    def _thin_out(self) -> None:
        if len(self._verified) > self._many:
            here = self._cache.is_whole
            self._verified = {digest: found for digest, found in self._verified.items() if here(digest)}
            self._many = max(FEW, 2 * len(self._verified))


def _identity(found: os.stat_result) -> _Identity:
    return _Identity(found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size)


def _open(path: str, opened: list[int]) -> _Identity:
    """Open the file at `path`, put its descriptor into `opened`, and return what it is."""
    opened.append(descriptor := files.open_to_read(path))
    return _identity(os.fstat(descriptor))


def _close_all(opened: list[int]) -> None:
    for descriptor in opened:
        os.close(descriptor)


def _identity_at(path: str) -> _Identity | None:
    try:
        return _identity(os.lstat(path))
    except FileNotFoundError:
        return None
