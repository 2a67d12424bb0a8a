"""The disk side of one mount: whether there is a tier, what its objects are called there, and what is said about it."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import msgspec
import trio

from mountd.aio.kernel_reads import is_overlay
from mountd.aio.threads import Lane
from mountd.cache.disk.disk_cache import DiskCache, Place
from mountd.cache.disk.room import CacheLimits
from mountd.cache.disk.tier import DiskTier
from mountd.cache.disk.verified import VerifiedFiles
from mountd.cache.version import BeginFetch, Fetch
from mountd.catalog.model import DatasetSpec, LocalSpec, Location, StoreSpec
from mountd.catalog.store_identity import store_identity
from mountd.config.mount_options import MountOptions
from mountd.errors import MountdError, NotFoundError, SetupError, UsageError
from mountd.fuse.passthrough import PassthroughWish
from mountd.modes.bring import Bringer
from mountd.modes.fill import Fill, Misses
from mountd.modes.mount_spec import MountSpec
from mountd.observe.statistics import FillStatus, MountStatistics
from mountd.stores.base import Store
from mountd.stores.guarded import GuardedStore
from mountd.stores.single import SingleObjectStore
from mountd.units import MIB, format_size
from mountd.vfs.whole_files import WholeInodes

DRAIN_S = 3.0
"""How long the end of a mount waits for bytes on their way to the disk."""
CLOSE_S = 2.0
QUEUE_SHARE = 8
LONGEST_QUEUE = 64 * MIB
MOST_REFUSALS = 8


@runtime_checkable
class ManyStores(Protocol):
    """A store that shows objects of several others."""

    def cache_place(self, key: str) -> tuple[str | None, str]:
        """Return what tells the store that holds `key` from all others, None if nothing does, and the key there."""


class MountDisk:
    """The disk side of one mount.

    Args:
        spec: the mount.
        tier: its tier; None: there is none.
        fill: what fills it; as `tier`.
        fetch: what readers are to use.
        begin: starts the same without a task, where it can.
        without: why there is no tier, for people.
    """

    def __init__(
        self,
        spec: MountSpec,
        tier: DiskTier | None,
        fill: Fill | None,
        fetch: Fetch,
        begin: BeginFetch,
        *,
        without: FillStatus,
        whole_files: VerifiedFiles | None = None,
        stack_depth: int = 0,
    ) -> None:
        self._options = spec.options
        self._tier = tier
        self._fill = fill
        self._without = without
        self._refused: list[FillStatus] = []
        self.fetch = fetch
        self.begin = begin
        self.whole_files = whole_files
        """What the kernel may read itself; None: nothing."""
        self._stack_depth = stack_depth

    @property
    def memory_bytes(self) -> int:
        """What is left of the mount's memory for the block cache."""
        return self._options.memory_bytes - (0 if self._tier is None else queue_bytes(self._options))

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to write, to keep up and to fill, in `nursery`."""
        if self._tier is not None and self._fill is not None:
            nursery.start_soon(self._tier.run)
            nursery.start_soon(self._fill.run)
        if self.whole_files is not None:
            nursery.start_soon(self.whole_files.run)

    def passthrough(self, inodes: WholeInodes) -> PassthroughWish | None:
        """Return how the kernel is to read those of `inodes` that it may; None: nobody asked for it."""
        if not self._options.passthrough:
            return None
        unless = "there is no disk cache" if self.whole_files is None else ""
        return PassthroughWish(inodes.find, self._stack_depth, unless, inodes.give_up)

    def prefetch(self, patterns: list[str], *, pinned: bool, ticket: str) -> None:
        """Bring to disk what `patterns` name; the statistics say, by `ticket`, how far it is."""
        if self._fill is not None:
            self._fill.prefetch(patterns, pinned=pinned, ticket=ticket)
        else:
            self._refused = [*self._refused, msgspec.structs.replace(self._without, ticket=ticket)][-MOST_REFUSALS:]

    def describe(self) -> str:
        """Return how bytes reach the reader, in a few words."""
        tier, fill = self._tier, self._fill
        said = self._without.note if tier is None or fill is None else self._describe(tier, fill)
        return said if self._options.mode == "auto" else f"{self._options.mode}: {said}"

    async def refresh(self) -> None:
        """Bring the numbers up to date that `with_numbers` knows from a moment ago."""
        if self._tier is not None:
            await self._tier.refresh()

    def with_numbers(self, statistics: MountStatistics) -> MountStatistics:
        """Return `statistics` with the numbers of the disk tier."""
        tier, fill = self._tier, self._fill
        if tier is None or fill is None:
            whole = self._without if self._options.mode == "download" else None
            return msgspec.structs.replace(statistics, fill=whole, prefetches=self._refused)
        counters, totals = tier.counters, tier.latest_totals
        return msgspec.structs.replace(
            statistics,
            disk_hits=counters.hits,
            disk_misses=counters.misses,
            disk_bytes_hit=counters.bytes_hit,
            disk_bytes_kept=counters.bytes_kept,
            disk_bytes_dropped=counters.bytes_dropped,
            disk_evictions=tier.evicted,
            disk_errors=counters.errors,
            disk_corrupt=tier.corrupt,
            disk_used=0 if totals is None else totals.standing.charged,
            disk_limit=0 if totals is None else totals.standing.most,
            disk_objects=0 if totals is None else totals.objects,
            disk_pinned=0 if totals is None else totals.pinned,
            fill=fill.progress.status() if fill.progress.state else None,
            prefetches=[progress.status() for progress in fill.ordered],
        )

    async def drain(self) -> None:
        """Wait a little for bytes on their way to the disk."""
        if self._tier is not None:
            with trio.move_on_after(DRAIN_S):
                await self._tier.drain()

    async def aclose(self) -> None:
        """Say goodbye to the cache."""
        if self._tier is not None:
            with trio.move_on_after(CLOSE_S, shield=True):
                await self._tier.aclose()

    @staticmethod
    def _describe(tier: DiskTier, fill: Fill) -> str:
        if tier.in_trouble:
            return "streaming: the cache directory is in trouble and left out, see the log"
        if fill.whole and (said := fill.progress.describe(trio.current_time())):
            return said
        totals = tier.latest_totals
        if totals is None:
            return "streaming through memory and the disk cache"
        used, most = format_size(totals.standing.charged), format_size(totals.standing.most)
        return f"streaming through memory and the disk cache ({used} of {most})"


async def open_disk(
    spec: MountSpec, guarded: GuardedStore, store: Store, root: str, fetch: Fetch, begin: BeginFetch
) -> MountDisk:
    """Return the disk side of a mount, with a tier where there can be one.

    Args:
        spec: the mount.
        guarded: the store that its source names.
        store: what the mount shows of it.
        root: key of the mount's root in `store`.
        fetch: brings bytes from the store.
        begin: starts the same without a task, where it can.

    Raises:
        UsageError: the cache directory is no directory.
        SetupError, DeniedError: it cannot be used, in mode `download`.
    """
    options, location = spec.options, spec.location
    place = None if options.mode == "stream" else _place(location, guarded.inner, store)
    if place is None:
        return MountDisk(spec, None, None, fetch, begin, without=_why_not(options, location))
    trouble: Exception | None = None
    try:
        cache = await Lane("disk cache", 1).run(lambda: DiskCache(options.cache_dir, place, _limits(options)))
    except (MountdError, OSError) as error:
        if options.mode == "download" or isinstance(error, UsageError):  # a wrong word on the command line
            raise error if isinstance(error, MountdError) else _unusable(options, error) from None
        trouble = error if isinstance(error, MountdError) else _unusable(options, error)
        cache = DiskCache(options.cache_dir, place, _limits(options), opened=False)
    misses = Misses()
    tier = DiskTier(cache, fetch, begin=begin, queue_bytes=queue_bytes(options), on_miss=misses.note, trouble=trouble)
    bringer = Bringer(store, root, tier, queue_bytes=queue_bytes(options))
    whole = spec.eager or options.mode == "download"
    fill = Fill(tier, bringer, misses, root=root, identity=shown_by(location), whole=whole)
    if not options.passthrough:
        return MountDisk(spec, tier, fill, tier.fetch, tier.begin, without=FillStatus())
    depth = await Lane("disk cache", 1).run(_stack_depth, options.cache_dir)
    files = VerifiedFiles(cache, tier)
    return MountDisk(
        spec, tier, fill, tier.fetch, tier.begin, without=FillStatus(), whole_files=files, stack_depth=depth
    )


def _stack_depth(cache_dir: str) -> int:
    """Return how many file systems lie upon each other when a mount passes reads through to a directory."""
    try:
        return 2 if is_overlay(cache_dir) else 1
    except OSError:  # it is not there yet
        return 1


def shown_by(location: Location) -> str:
    """Return what is the same for mounts that show the same, whatever the credential; empty: that cannot be told.

    Of a dataset that is listed for each use, it is the question that is the same.
    """
    store = location.store
    if not isinstance(store, DatasetSpec):
        identity = store_identity(store)
        return "" if identity is None else f"{identity} {location.path}"
    if store.listing is not None:
        return f"dataset {store.listing}"
    identities = [store_identity(member) for member in store.stores]
    asked = msgspec.json.encode((identities, store.sources, store.steps)).decode()
    return "" if None in identities else f"files {asked}"


def queue_bytes(options: MountOptions) -> int:
    """Return the part of the mount's memory that may wait to be written to disk."""
    return min(LONGEST_QUEUE, options.memory_bytes // QUEUE_SHARE)


def _unusable(options: MountOptions, error: OSError) -> SetupError:
    return SetupError(f"cache directory {options.cache_dir}: {error}")


def _limits(options: MountOptions) -> CacheLimits:
    return CacheLimits(
        size=options.cache_size,
        reserve=options.cache_reserve_bytes,
        prune_threshold=options.cache_prune_threshold,
        prune_target=options.cache_prune_target,
    )


def _why_not(options: MountOptions, location: Location) -> FillStatus:
    """Return why there is no tier; bytes that lie on this node anyway count as brought."""
    if _lies_on_this_node(location.store):
        return FillStatus(state="complete", note="read in place: the source is a directory of this node")
    if options.mode == "stream":
        return FillStatus(state="streaming", note="through memory only, as it was mounted with --mode stream")
    return FillStatus(state="streaming", note="streaming through memory: this kind of source is not cached on disk")


def _place(location: Location, inner: Store, store: Store) -> Place | None:
    """Return what says where the objects of a mount lie; None: none of them is to be cached.

    What is on this node already is never copied to its disk once more.
    """
    prefix = location.path.removesuffix(store.shown) if isinstance(store, SingleObjectStore) else ""
    if _lies_on_this_node(location.store):
        return None
    if isinstance(inner, ManyStores):
        return _places_in(inner.cache_place, prefix)
    identity = store_identity(location.store)
    if identity is None or _is_of_this_node(identity):
        return None
    return lambda key: (identity, prefix + key)


def _lies_on_this_node(store: StoreSpec) -> bool:
    members = store.stores if isinstance(store, DatasetSpec) else (store,)
    return all(isinstance(member, LocalSpec) for member in members)


def _places_in(place: Callable[[str], tuple[str | None, str]], prefix: str) -> Place:
    def found(key: str) -> tuple[str, str] | None:
        try:
            identity, there = place(prefix + key)
        except NotFoundError:
            return None
        return None if identity is None or _is_of_this_node(identity) else (identity, there)

    return found


def _is_of_this_node(identity: str) -> bool:
    return identity.startswith("file:")
