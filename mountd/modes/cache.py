"""Looking after the node's disk cache by hand: what is in it, emptying it, reading all of it. Blocks.

Mounts that use the cache meanwhile are not disturbed: the journal takes one change at a time, whoever makes it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from mountd.cache.disk.disk_cache import DiskCache
from mountd.cache.disk.layout import Layout
from mountd.cache.disk.room import NO_CEILING, CacheLimits
from mountd.config.mount_options import MountOptions
from mountd.errors import DeniedError, SetupError

_NO_LIMITS = CacheLimits(size="-0", reserve=0)
"""Of a process that only looks: the bounds that mounts have asked for hold, and it adds none."""


class CacheReport(msgspec.Struct, frozen=True, kw_only=True):
    """How full the cache is, in bytes but for counts."""

    directory: str
    exists: bool
    used: int = 0
    """Blocks of all files, reservations, directories and journal: what counts against the ceiling."""
    ceiling: int = 0
    free: int = 0
    """Of the disk, less reservations."""
    reserve: int = 0
    objects: int = 0
    complete: int = 0
    """Objects that are here whole."""
    pinned: int = 0
    processes: int = 0
    """Mounts that use it now."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a reading of everything found."""

    objects: int
    bytes: int
    """Read and found right."""
    bad: int
    """Pieces that were wrong; they are forgotten and will be fetched again."""


def report(options: MountOptions) -> CacheReport:
    """Return how full the cache of `options` is.

    Raises:
        MountdError: it cannot be opened.
    """
    if not _exists(options.cache_dir):
        return CacheReport(directory=options.cache_dir, exists=False)
    with _opened(options.cache_dir) as cache:
        totals = cache.totals()
        standing = totals.standing
        ceiling, reserve = standing.ceiling, standing.kept_free
        if totals.owners == 1:  # nobody but us: what a mount with these options would ask for
            limits = CacheLimits(size=options.cache_size, reserve=options.cache_reserve_bytes)
            ceiling, reserve = limits.ceiling(cache.first_free), limits.kept_free()
        if ceiling >= NO_CEILING:
            ceiling = max(0, standing.charged + standing.free - reserve)
        return CacheReport(
            directory=options.cache_dir,
            exists=True,
            used=standing.charged,
            ceiling=ceiling,
            free=standing.free,
            reserve=reserve,
            objects=totals.objects,
            complete=totals.complete,
            pinned=totals.pinned,
            processes=totals.owners - 1,
        )


def clear(directory: str) -> int:
    """Empty the cache, pinned objects included; return how many objects went.

    Raises:
        MountdError: it cannot be opened or changed.
    """
    if not _exists(directory):
        return 0
    with _opened(directory) as cache:
        cache.compare()
        return cache.clear()


def verify(directory: str, progress: Callable[[Verified], None]) -> Verified:
    """Read everything and forget what is wrong; `progress` is told now and then.

    Raises:
        MountdError: the cache cannot be opened or read.
    """
    found = Verified(objects=0, bytes=0, bad=0)
    if not _exists(directory):
        return found
    with _opened(directory) as cache:
        for good, bad in cache.verify():
            found = Verified(objects=found.objects + 1, bytes=found.bytes + good, bad=found.bad + bad)
            if found.objects % 100 == 0:
                progress(found)
    return found


def _exists(directory: str) -> bool:
    try:
        return Layout(directory).journal.exists()
    except OSError as error:
        raise DeniedError(
            f"cache directory {directory}: {error.strerror}; it may be another user's, give another --cache-dir"
        ) from error


@contextmanager
def _opened(directory: str) -> Iterator[DiskCache]:
    try:
        cache = DiskCache(directory, lambda _: None, _NO_LIMITS)
        try:
            yield cache
        finally:
            cache.close()
    except OSError as error:
        raise SetupError(f"cache directory {directory}: {error}; check the disk it is on") from error
