"""The composition of one mount: store, tree, cache, file system, FUSE session. Runs in a worker process."""

import gc
import math
import time
from contextlib import suppress
from pathlib import Path

import trio

from mountd.aio.retry import UNREACHED_S, RetryPolicy
from mountd.aio.threads import Lane
from mountd.cache.allocator import free_memory, reuse_buffers, touch
from mountd.cache.block_cache import BlockCache
from mountd.cache.disk.writer import SHORT_QUEUE
from mountd.cache.kept import KEEP_DELIVERED
from mountd.cache.readahead import WindowLimits
from mountd.cache.version import BeginFetch, Fetch, FetchDone, ObjectVersion, never
from mountd.catalog.model import LocalSpec
from mountd.errors import ChangedError, UsageError
from mountd.fuse.convert import Ownership
from mountd.fuse.session import Session
from mountd.fuse.tuning import read_sizes
from mountd.modes.datasets import open_place
from mountd.modes.disk import MountDisk, open_disk
from mountd.modes.mount_spec import SINGLE_FILE, MountSpec
from mountd.observe.statistics import MountStatistics
from mountd.stores.base import Chunk, Missed, QuickReads, Store
from mountd.stores.guarded import GuardedStore
from mountd.stores.open import probe
from mountd.stores.single import SingleObjectStore
from mountd.tree.base import Tree
from mountd.tree.namespace import Namespace
from mountd.tree.pinned import PinnedNamespace
from mountd.units import ByteRange
from mountd.vfs.filesystem import FileSystem
from mountd.vfs.whole_files import WholeInodes

OPEN_WITHIN_S = 20.0
"""For the first questions to the store: who mounts waits 30 s, and is to hear what is wrong before that."""
LIST_WITHIN_S = 25.0
"""For the listing of a dataset that is not pinned, for the same reason."""
TOUCHED_SHARE = 16
"""The part of the budget that is touched before anybody reads: a sixteenth at most."""
COLLECT_EVERY = 50_000
"""Objects made, less objects freed, between two runs of the cyclic collector; Python's own value is 700."""
DEADLINE_MARGIN_S = 0.5
"""The file system's own deadline comes after the store's, whose error says what was wrong."""


class ServedMount:
    """A mount that is being served, as its worker sees it."""

    def __init__(
        self,
        spec: MountSpec,
        store: GuardedStore,
        namespace: Tree,
        cache: BlockCache,
        filesystem: FileSystem,
        session: Session,
        disk: MountDisk,
        single_file: str | None,
    ) -> None:
        """`single_file` is the name of the only file where the source is a single object."""
        self._disk = disk
        self._spec = spec
        self._store = store
        self._namespace = namespace
        self._cache = cache
        self._filesystem = filesystem
        self._session = session
        self._single_file = single_file

    async def refresh(self) -> None:
        """Bring the numbers of the disk cache up to date."""
        await self._disk.refresh()

    def statistics(self) -> MountStatistics:
        """Return the counters as they are now."""
        budget = self._cache.budget
        statistics = MountStatistics(
            reads=self._filesystem.reads,
            bytes_read=self._filesystem.bytes_read,
            bytes_fetched=self._store.bytes_read,
            store_requests=self._store.requests,
            store_retries=self._store.retries,
            store_errors=self._store.errors,
            cache_hits=self._cache.counters.hits,
            cache_misses=self._cache.counters.misses,
            memory_used=budget.used,
            memory_limit=self._spec.options.memory_bytes,
            memory_peak=budget.peak,
            inodes=len(self._namespace.inodes),
            open_handles=self._filesystem.open_handles,
            passthrough_handles=self._session.passthrough_handles,
            changed_objects=self._namespace.inodes.changed_objects,
            handler_errors=self._session.failures.unexpected,
            hidden_names=self._namespace.hidden_names,
            waiting_for=self._store.slow_now(),
            refused=self._filesystem.refusals.latest_first(),
        )
        return self._disk.with_numbers(statistics)

    def describe(self) -> dict[str, str]:
        """Return what people may want to know beyond the counters."""
        single = {SINGLE_FILE: self._single_file} if self._single_file is not None else {}
        return {"mode": self._disk.describe(), **single, **self._session.tuning}

    @property
    def is_over(self) -> bool:
        """The kernel has nothing of the mount any more; what is still done, is done for the disk."""
        return self._session.is_over

    def prefetch(self, patterns: list[str], *, pinned: bool, ticket: str) -> None:
        """Bring to disk what `patterns` name; `statistics` says, by `ticket`, how far it is."""
        self._disk.prefetch(patterns, pinned=pinned, ticket=ticket)

    def request_stop(self) -> None:
        """Make `serve_mount` unmount and return."""
        self._session.request_stop()


async def serve_mount(spec: MountSpec, *, task_status: trio.TaskStatus[ServedMount] = trio.TASK_STATUS_IGNORED) -> str:
    """Mount and serve until unmounted; return why it ended: "unmounted" or "stopped".

    Reports started once the kernel has the mount and requests are about to be answered.

    Raises:
        MountdError: the store or the kernel refused; the message names the step.
    """
    reused = reuse_buffers()
    options, location = spec.options, spec.location
    _check_apart(spec)
    policy = RetryPolicy(deadline_s=options.request_deadline_s)
    guarded, listing = await open_place(location, policy, within_s=LIST_WITHIN_S)
    disk: MountDisk | None = None
    try:
        store, root = await _rooted(guarded, location.path, options.request_deadline_s)
        disk = await open_disk(spec, guarded, store, root, _fetch_from(store), begin_from(store))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guarded.serve)
            disk.start(nursery)
            ttl_s = options.attr_ttl_s if listing is None else math.inf
            namespace: Tree = PinnedNamespace(listing) if listing else Namespace(store, root, nursery, ttl_s=ttl_s)
            cache = BlockCache(disk.fetch, nursery, limit_bytes=disk.memory_bytes, begin=disk.begin)
            whole = WholeInodes(namespace.inodes, disk.whole_files)
            filesystem = FileSystem(
                namespace,
                cache,
                started_ns=time.time_ns(),
                deadline_s=options.request_deadline_s + DEADLINE_MARGIN_S,
                ttl_s=ttl_s,
                request_s=lambda: guarded.shortest_read.value_s,
                is_whole=whole.holds,
            )
            guarded.on_progress(filesystem.patience.put_off)
            _spare_collections()
            session = Session(
                filesystem,
                Ownership(options.uid, options.gid, options.file_mode, options.dir_mode),
                spec.mountpoint,
                source=location.source,
                allow_other=options.allow_other,
                reads=read_sizes(options.memory_bytes),
                direct=options.fuse_engine == "direct",
                passthrough=disk.passthrough(whole),
            )
            single_file = listing.single_file if listing else None
            if isinstance(store, SingleObjectStore):
                single_file = store.shown
            served = ServedMount(spec, guarded, namespace, cache, filesystem, session, disk, single_file)

            def started() -> None:
                task_status.started(served)
                if reused:  # else it would be given back at once
                    nursery.start_soon(_touch_ahead, disk.memory_bytes)

            reason = await session.serve(started=started)
            await disk.drain()
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(2, shield=True):
            await guarded.aclose()
        if disk is not None:
            await disk.aclose()
    return reason


def _check_apart(spec: MountSpec) -> None:
    """Refuse a mount point inside the directory that it is to show: it would show itself without end.

    Raises:
        UsageError: it is inside.
    """
    store = spec.location.store
    if isinstance(store, LocalSpec):  # a dataset shows what was listed, which no mount point is
        shown = Path(store.path, spec.location.path)
        if Path(spec.mountpoint).is_relative_to(shown.resolve()):
            raise UsageError(
                f"the mount point {spec.mountpoint} lies inside {shown}, which it is to show; name one outside"
            )


def _spare_collections() -> None:
    """Keep the cyclic collector from walking what lives as long as the mount: an eighth of the time of small files.

    Nodes, listings and extents are freed by their reference counts; what cycles there are come from errors.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 20, 100)


async def _touch_ahead(budget_bytes: int) -> None:
    """Touch what the first reader of a large file will need of memory, as far as that is little of the budget."""
    needed = WindowLimits().largest + KEEP_DELIVERED + SHORT_QUEUE
    with suppress(MemoryError, RuntimeError):  # no memory, or no thread to be had: nothing that a mount needs
        await Lane("heap", 1).run(touch, free_memory(min(needed, budget_bytes // TOUCHED_SHARE)))


async def _rooted(store: GuardedStore, path: str, deadline_s: float) -> tuple[Store, str]:
    """Return the store to show and the key of its root; a single object becomes a store of its own."""
    within_s = min(OPEN_WITHIN_S, deadline_s)
    first_questions = RetryPolicy(deadline_s=within_s, in_all_s=within_s, unreached_s=UNREACHED_S)
    if await probe(store.within(first_questions), path) == "file":
        return SingleObjectStore(store, path), ""
    return store, path


def _fetch_from(store: Store) -> Fetch:
    async def fetch(version: ObjectVersion, wanted: ByteRange) -> memoryview:
        chunk = await store.read(version.key, wanted.start, wanted.length, if_match=version.etag)
        if chunk.etag != version.etag:
            raise ChangedError(f"{version.key}: the store answered with another version than asked for")
        return chunk.data

    return fetch


def begin_from(store: Store) -> BeginFetch:
    """Return what starts to fetch from `store` without a task, where it can."""
    if not isinstance(store, QuickReads):
        return never
    quick: QuickReads = store

    def begin(version: ObjectVersion, wanted: ByteRange, done: FetchDone) -> bool:
        def came(chunk: Chunk | Missed) -> None:
            done(chunk.data if isinstance(chunk, Chunk) and chunk.etag == version.etag else None)

        return quick.begin_read(version.key, wanted.start, wanted.length, if_match=version.etag, done=came)

    return begin
