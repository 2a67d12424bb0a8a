"""Opening files: which version is opened, and what of it is fetched before the answer.

An open brings the first bytes with `If-Match` before it answers: so a replaced object is noticed while the kernel can
still look the name up again. Most opens need no task for that: `begin` answers at once where the bytes are here, and is
called back where they are on their way. Everything else is `open`'s, whose errors say what is wrong.
"""

from collections.abc import Callable

from mountd.cache.block_cache import BlockCache
from mountd.cache.cached_object import CachedObject
from mountd.cache.extents import START, Extent
from mountd.cache.version import ObjectVersion
from mountd.errors import ChangedError, MountdError, NotFoundError, StaleHandleError
from mountd.tree.base import Tree
from mountd.tree.inodes import FileNode
from mountd.vfs.handles import FileHandle, HandleTable
from mountd.vfs.lookahead import LookAhead
from mountd.vfs.patience import Patience
from mountd.vfs.refusals import Refusals
from mountd.vfs.refused_opens import RefusedOpens

WHOLE_AT_OPEN = START
"""Files up to this size are fetched whole by `open`: one request for open, read and close together."""
START_AT_OPEN = START
"""What `open` fetches of larger files: the kernel's largest request, so that the first read never waits again."""

OpenDone = Callable[[int | Exception | None], None]
"""Takes the handle of an open that was begun, or what `open` would have raised; None: `open` it."""


def first_bytes(node: FileNode) -> int:
    """Return how many bytes `open` fetches."""
    return node.size if node.size <= WHOLE_AT_OPEN else START_AT_OPEN


class Opening:
    """An open that was begun: its first bytes are on their way, and no task waits for them.

    It has no deadline: whoever began it is to give it up after a while, and to `open` instead.
    """

    __slots__ = ("_cached", "_caller", "_done", "_extent", "_node", "_opens")

    def __init__(
        self, opens: "Opens", node: FileNode, caller: int, cached: CachedObject, extent: Extent, done: OpenDone
    ) -> None:
        self._opens = opens
        self._node = node
        self._caller = caller
        self._cached = cached
        self._extent = extent
        self._done = done
        extent.told.append(self._here)

    def give_up(self) -> None:
        """Begin it undone; it is not called back any more."""
        self._extent.told.remove(self._here)
        self._opens.let_go(self._node, self._cached)

    def _here(self) -> None:
        try:
            outcome = self._outcome()
        except Exception as error:  # noqa: BLE001 - whoever calls is not to suffer from it
            outcome = error
        self._done(outcome)

    def _outcome(self) -> int | Exception | None:
        error = self._extent.error
        if error is None:
            return self._opens.handle(self._node, self._cached)
        failure = self._opens.failure(self._node, self._caller, self._extent, error)
        self._opens.let_go(self._node, self._cached)
        return failure


class Opens:
    """The opens of one mount.

    Args:
        namespace: names to nodes.
        cache: bytes of versions.
        handles: gets the handles.
        refused: opens that were refused, and what was promised for them since.
        patience: how long to wait.
        refusals: for people.
        ttl_s: how long names may be used without asking.
        request_s: returns what a request to the store takes at the least, as far as is known.
        is_whole: says of which inodes the kernel may read the bytes itself.
    """

    def __init__(
        self,
        namespace: Tree,
        cache: BlockCache,
        handles: HandleTable,
        refused: RefusedOpens,
        patience: Patience,
        refusals: Refusals,
        *,
        ttl_s: float,
        request_s: Callable[[], float],
        is_whole: Callable[[int], bool],
    ) -> None:
        self._namespace = namespace
        self._inodes = namespace.inodes
        self._cache = cache
        self._handles = handles
        self._refused = refused
        self._patience = patience
        self._refusals = refusals
        self._ttl_s = ttl_s
        self._is_whole = is_whole
        self._lookahead = LookAhead(namespace, cache, largest_file=WHOLE_AT_OPEN, request_s=request_s)

    def begin(self, node: FileNode, done: OpenDone, *, caller: int) -> int | Opening | None:
        """Return the handle, if nothing has to be waited for; else start fetching.

        The first bytes of a node that the kernel has, as after most opens of a second epoch, or reads itself, are not
        fetched. `done` is called for an `Opening`, later, once; None: `open` it.
        """
        if (caller, node) in self._refused or not self._namespace.current(node):
            return None
        if node.delivered or self._is_whole(node.ino):
            return self._opened(node)
        cached = self._held(node)
        stop = first_bytes(node)
        if self._start(node, cached, stop):
            return self.handle(node, cached)
        pending = self._cache.pending(cached, 0, stop)
        if pending is None:
            self.let_go(node, cached)
            return None
        return Opening(self, node, caller, cached, pending, done)

    async def open(self, node: FileNode, *, caller: int) -> int:
        """Return a handle, whatever that takes.

        Raises:
            StaleHandleError: the node's version is no longer what its name stands for; look it up again.
        """
        if self._refused.take(caller, node):
            return self._opened(node)
        try:
            await self._check_current(node)
            return await self._open(node)
        except MountdError as error:
            self._note(node, caller, error)
            raise

    async def bring_start(self, node: FileNode) -> None:
        """Bring what an open of the node fetches."""
        cached = self.acquire(node)
        try:
            await self._bring(node, cached)
        finally:
            self._cache.release(cached)

    def handle(self, node: FileNode, cached: CachedObject) -> int:
        """Return a new handle of a node that is held for it."""
        return self._handles.add(FileHandle(node, cached))

    def failure(self, node: FileNode, caller: int, extent: Extent, error: Exception) -> MountdError | None:
        """Return what `open` raises when its first bytes did not come; None: it has yet to try."""
        if isinstance(error, ChangedError | NotFoundError):
            error = self._replaced(node, error)
        elif extent.early or not isinstance(error, MountdError):
            return None  # as in `BlockCache.warm`: its time to try began before this reader came
        self._note(node, caller, error)
        return error

    def acquire(self, node: FileNode) -> CachedObject:
        """Return what is known of the bytes of the node's version."""
        return self._cache.acquire(ObjectVersion(node.key, node.etag, node.size))

    def let_go(self, node: FileNode, cached: CachedObject | None) -> None:
        """A handle, or an attempt to get one, is over."""
        self._inodes.let_go(node)
        if cached is not None:
            self._cache.release(cached)

    # ---- inside

    def _replaced(self, node: FileNode, error: MountdError) -> StaleHandleError:
        """The store has another version than the node's, or none."""
        self._namespace.doubt(node)
        stale = StaleHandleError(f"{node.key}: was replaced")
        stale.__cause__ = error
        return stale

    def _note(self, node: FileNode, caller: int, error: MountdError) -> None:
        """An open is refused: people may want to know, or the same system call will look the name up again."""
        if isinstance(error, StaleHandleError) and not self._namespace.final:
            self._refused.note(caller, node)
        else:
            self._refusals.note(node.parent, node.name, error)

    async def _check_current(self, node: FileNode) -> None:
        if self._namespace.current(node):
            return
        if self._ttl_s > 0 and not node.stale:
            answer = self._namespace.settled(node.parent, node.name)
            if answer is None:
                with self._patience.bound("open", node.name):
                    answer = await self._namespace.lookup(node.parent, node.name)
            if answer.node is not node:
                if answer.node is not None:
                    self._inodes.drop_if_unknown(answer.node)
                raise StaleHandleError(f"{node.key}: was replaced")
        if node.stale:
            raise StaleHandleError(f"{node.key}: was replaced")

    async def _open(self, node: FileNode) -> int:
        if node.delivered or self._is_whole(node.ino):
            return self._opened(node)
        cached = self._held(node)
        try:
            await self._bring(node, cached)
        except (ChangedError, NotFoundError) as error:
            stale = self._replaced(node, error)
            self.let_go(node, cached)
            raise stale from error
        except BaseException:
            self.let_go(node, cached)
            raise
        return self.handle(node, cached)

    def _opened(self, node: FileNode) -> int:
        """Return a handle of a file that the kernel probably has the pages of and will not read."""
        self._inodes.hold(node)
        return self._handles.add(FileHandle(node))

    def _held(self, node: FileNode) -> CachedObject:
        """Return what is known of its bytes, for a handle that is to be; the node stays until `let_go`."""
        self._inodes.hold(node)
        return self.acquire(node)

    def _start(self, node: FileNode, cached: CachedObject, stop: int) -> bool:
        """Start to fetch the first bytes; return whether they are here."""
        here = self._cache.begin(cached, 0, stop)
        if self._ttl_s > 0:  # else only the store's answer to this very open tells its version
            self._lookahead.opening(node, stalled=not here)
        return here

    async def _bring(self, node: FileNode, cached: CachedObject) -> None:
        stop = first_bytes(node)
        if not self._start(node, cached, stop):
            with self._patience.bound("open", node.name):
                await self._cache.warm(cached, 0, stop)
