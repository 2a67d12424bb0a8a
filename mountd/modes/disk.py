"""Which mounts get a disk tier, and what their objects are called there."""

import sqlite3

from mountd.aio.threads import Lane
from mountd.cache.disk.disk_cache import DiskCache
from mountd.cache.disk.room import CacheLimits
from mountd.cache.disk.tier import DiskTier
from mountd.cache.version import Fetch
from mountd.catalog.model import BlobSpec, LocalSpec, StoreSpec
from mountd.config.mount_options import MountOptions
from mountd.errors import MountdError, SetupError
from mountd.observe.logs import get_logger
from mountd.units import MIB

_QUEUE_SHARE = 8
_LONGEST_QUEUE = 64 * MIB

log = get_logger("mountd.modes.disk")


def queue_bytes(options: MountOptions) -> int:
    """Return the part of the mount's memory that may wait to be written to disk."""
    return min(_LONGEST_QUEUE, options.memory_bytes // _QUEUE_SHARE)


def why_without(options: MountOptions, store: StoreSpec) -> str | None:
    """Return why a mount has no disk tier, for people; None: it has one."""
    if options.mode == "stream":
        return "streaming through memory"
    if options.mode == "auto" and isinstance(store, LocalSpec):
        return "read in place: the source is a directory of this node"
    return None


async def open_tier(options: MountOptions, store: StoreSpec, prefix: str, fetch: Fetch) -> DiskTier | None:
    """Return the disk tier; None: the directory cannot be used, and the mount streams.

    Args:
        options: of the mount.
        store: where the bytes come from.
        prefix: what the mount leaves out of its objects' keys.
        fetch: brings bytes from the store.

    Raises:
        SetupError, DeniedError: the directory cannot be used, in mode `download`.
    """
    limits = CacheLimits(
        size=options.cache_size,
        reserve=options.cache_reserve_bytes,
        prune_threshold=options.cache_prune_threshold,
        prune_target=options.cache_prune_target,
    )
    try:
        cache = await Lane("disk cache", 1).run(
            lambda: DiskCache(options.cache_dir, _identity(store), limits, prefix=prefix)
        )
    except (MountdError, OSError, sqlite3.Error) as error:
        what = error.message if isinstance(error, MountdError) else f"cache directory {options.cache_dir}: {error}"
        if options.mode == "download":
            raise error if isinstance(error, MountdError) else SetupError(what) from None
        log.warning("no disk cache, streaming through memory", why=what)
        return None
    return DiskTier(cache, fetch, queue_bytes=queue_bytes(options))


def _identity(store: StoreSpec) -> str:
    """Return what tells one store from another, whatever the credential."""
    match store:
        case BlobSpec(account_url=url, container=container):
            return f"blob {url.lower()}/{container}"
        case LocalSpec(path=path):
            return f"local {path}"
