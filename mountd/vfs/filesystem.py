"""All file-system operations of one mount, without a kernel.

Takes and gives inode numbers, handle numbers, names as bytes and `Attributes`. Rules kept here (see docs/SEMANTICS.md):

- An open file is one version. `open` brings its first bytes with `If-Match` before it answers, so that a replaced
  object is noticed there: the inode is refused with ESTALE, on which the kernel looks the name up again, unseen by
  the caller.
- That second lookup answers with a version whose first bytes are in memory already, so that it can be opened.
- A read that finds its version gone, and not held, is ESTALE; bytes of two versions never meet in one handle.
- Every operation that may wait has a deadline and ends in an error that has an errno.
"""

from collections.abc import Callable, Iterator
from itertools import chain

import trio

from mountd.cache.block_cache import BlockCache
from mountd.cache.cached_object import CachedObject
from mountd.errors import (
    ChangedError,
    DeniedError,
    IsDirectoryError,
    MountdError,
    NotDirectoryError,
    NotFoundError,
    StaleHandleError,
    UnavailableError,
)
from mountd.tree import names
from mountd.tree.base import Answer, Entries, Tree
from mountd.tree.inodes import DirectoryNode, FileNode, Node
from mountd.vfs.attributes import Attributes, Capacity, Listed, Looked
from mountd.vfs.handles import DirectoryHandle, FileHandle, HandleTable
from mountd.vfs.opens import OpenDone, Opening, Opens, first_bytes
from mountd.vfs.patience import Patience
from mountd.vfs.refusals import Refusals
from mountd.vfs.refused_opens import RefusedOpen, RefusedOpens

PINNED_LOOKUPS = 30
"""Tries to find a version that stays long enough to fetch its first bytes, under the operation's deadline."""
NOMINAL_BYTES = 1 << 50
"""What `statfs` reports: object stores have no capacity, and installers refuse a file system of size 0."""
FIRST_ENTRY = 2
"""Directory offsets 0 and 1 are `.` and `..`; entry i of the listing is at i + 2."""


class FileSystem:
    """The operations.

    Args:
        namespace: names to nodes.
        cache: bytes of versions.
        started_ns: modification time of directories, which have none of their own; nanoseconds since 1970 UTC.
        deadline_s: the longest an operation may wait without progress.
        ttl_s: how long names may be used without asking.
        request_s: returns what a request to the store takes at the least, as far as is known.
        is_whole: says of which inodes the kernel may read the bytes itself.
    """

    def __init__(
        self,
        namespace: Tree,
        cache: BlockCache,
        *,
        started_ns: int,
        deadline_s: float,
        ttl_s: float,
        request_s: Callable[[], float] = lambda: 0.0,
        is_whole: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._namespace = namespace
        self._inodes = namespace.inodes
        self._cache = cache
        self._started_ns = started_ns
        self._ttl_s = ttl_s
        self._handles = HandleTable()
        self._refused = RefusedOpens()
        self.patience = Patience(deadline_s, self._heard)
        self.refusals = Refusals()
        self._opens = Opens(
            namespace,
            cache,
            self._handles,
            self._refused,
            self.patience,
            self.refusals,
            ttl_s=ttl_s,
            request_s=request_s,
            is_whole=is_whole,
        )
        self.reads = 0
        self.bytes_read = 0

    @property
    def open_handles(self) -> int:
        """Files and directories open now."""
        return len(self._handles)

    # ---- names

    def lookup_nowait(self, parent: int, name: bytes, *, caller: int = 0) -> Looked | None:
        """Return what `lookup` would if that takes no question to the store; else None, and nothing is counted."""
        directory = self._directory(parent)
        if name in (b".", b".."):
            node: Node = directory if name == b"." else directory.parent or directory
            node.lookups += 1
            return Looked(self._attributes(node), self._ttl_s)
        names.check(name)  # also where a complete listing knows that there is none
        if self._refused.of(caller, parent, name) is not None:
            return None
        answer = self._namespace.settled(directory, name)
        return None if answer is None else self._looked(answer)

    async def lookup(self, parent: int, name: bytes, *, caller: int = 0) -> Looked:
        """Say what `name` stands for; a found one counts as looked up until `forget`.

        `caller` is the thread that waits: a system call of it that `open` has refused looks the name up again here.
        """
        looked = self.lookup_nowait(parent, name, caller=caller)
        if looked is not None:
            return looked
        directory = self._directory(parent)
        refused = self._refused.of(caller, parent, name)
        if refused is not None:
            with self.patience.bound("lookup", name), refused.looking():
                return await self._lookup_again(directory, refused)
        try:
            with self.patience.bound("lookup", name):
                answer = await self._namespace.lookup(directory, name)
        except (DeniedError, UnavailableError) as error:
            self.refusals.note(directory, name, error)
            raise
        return self._looked(answer)

    def forget(self, ino: int, count: int) -> None:
        """The kernel takes back `count` lookups."""
        self._inodes.forget(ino, count)

    def getattr(self, ino: int) -> Attributes:
        """Return the attributes of an inode; needs no storage, because an inode is one version."""
        return self._attributes(self._node(ino))

    def statfs(self) -> Capacity:
        """Return a nominal capacity."""
        return Capacity(NOMINAL_BYTES, NOMINAL_BYTES, 1 << 40)

    def _looked(self, answer: Answer) -> Looked:
        if answer.node is None:
            return Looked(None, answer.valid_s)
        answer.node.lookups += 1
        return Looked(self._attributes(answer.node), answer.valid_s)

    async def _lookup_again(self, directory: DirectoryNode, refused: RefusedOpen) -> Looked:
        """Look a name up until a version is found whose first bytes can be fetched, and promise to open that one.

        The kernel looks up again once and no more: were the next `open` refused too, the caller would see ESTALE.
        """
        for _ in range(PINNED_LOOKUPS):
            answer = await self._namespace.lookup(directory, refused.name)
            looked = self._looked(answer)  # counted at once: nobody's forget may drop the node while its bytes come
            node, answered_at = answer.node, trio.current_time()
            if not isinstance(node, FileNode):
                return looked
            try:
                await self._opens.bring_start(node)
            except (ChangedError, NotFoundError):
                self._namespace.doubt(node)
                self._inodes.forget(node.ino, 1)
            except BaseException:
                self._inodes.forget(node.ino, 1)
                raise
            else:
                refused.promise(node)
                valid_s = 0.0 if node.stale else max(0.0, looked.valid_s + answered_at - trio.current_time())
                return looked._replace(valid_s=valid_s)
        return self._looked(await self._namespace.lookup(directory, refused.name))

    # ---- files

    def begin_open(self, ino: int, done: OpenDone, *, caller: int = 0) -> int | Opening | None:
        """Open a file without waiting, as far as that goes: see `Opens.begin`. None: `open` it."""
        node = self._node(ino)
        return self._opens.begin(node, done, caller=caller) if isinstance(node, FileNode) else None

    async def open(self, ino: int, *, caller: int = 0) -> int:
        """Open a file and return a handle; `caller` is the thread that waits.

        Raises:
            StaleHandleError: the inode's version is no longer what its name stands for; look it up again.
        """
        node = self._node(ino)
        if isinstance(node, DirectoryNode):
            raise IsDirectoryError(f"{node.key}: is a directory")
        return await self._opens.open(node, caller=caller)

    def read_nowait(self, number: int, offset: int, length: int) -> memoryview | bytes | None:
        """Return what `read` would if nothing has to be waited for; None: start fetching, and `read_late` gets it."""
        handle = self._handles.file(number)
        node = handle.node
        self.reads += 1
        stop = min(offset + length, node.size)
        if offset >= stop:
            return b""
        if handle.cached is None:
            handle.cached = self._opens.acquire(node)
        data = self._cache.read_nowait(handle.cached, offset, stop)
        if data is not None:
            self._delivered(node, handle.cached, offset, stop)
        return data

    async def read_late(self, number: int, offset: int, length: int) -> memoryview:
        """Return what `read_nowait` started to fetch.

        Raises:
            StaleHandleError: the version is gone and these bytes of it are not held.
        """
        handle = self._handles.file(number)
        node, cached = handle.node, handle.cached
        assert cached is not None, "read_nowait came first"
        stop = min(offset + length, node.size)
        try:
            with self.patience.bound("read", node.name):
                data = await self._cache.collect(cached, offset, stop)
        except (ChangedError, NotFoundError) as error:
            self._namespace.doubt(node)
            self.refusals.note(node.parent, node.name, error)
            raise StaleHandleError(f"{node.key}: was replaced while it was open") from error
        except MountdError as error:
            self.refusals.note(node.parent, node.name, error)
            raise
        self._delivered(node, cached, offset, stop)
        return data

    async def read(self, number: int, offset: int, length: int) -> memoryview | bytes:
        """Return up to `length` bytes from `offset` on; fewer only at the end of the file."""
        data = self.read_nowait(number, offset, length)
        return await self.read_late(number, offset, length) if data is None else data

    def _delivered(self, node: FileNode, cached: CachedObject, offset: int, stop: int) -> None:
        if offset < first_bytes(node) and cached.start.cover(offset, stop):
            self._inodes.mark_delivered(node)
        self.bytes_read += stop - offset

    def release(self, number: int) -> None:
        """Close a file or directory handle."""
        handle = self._handles.remove(number)
        if isinstance(handle, FileHandle):
            self._opens.let_go(handle.node, handle.cached)
        elif handle is not None:
            self._inodes.let_go(handle.node)

    # ---- directories

    def opendir(self, ino: int) -> int:
        """Open a directory and return a handle."""
        node = self._directory(ino)
        self._inodes.hold(node)
        return self._handles.add(DirectoryHandle(node))

    async def entries(self, number: int, offset: int) -> Iterator[Listed]:
        """Return the entries from `offset` on that are here; waits until there is one, or the end is known.

        Fewer entries than the directory holds is no end: only an empty answer is.
        """
        handle = self._handles.directory(number)
        listing = handle.listing
        if listing is None or offset == 0:
            listing = handle.listing = self._namespace.listing(handle.node)
        entries = self._entries(handle, listing, offset)
        one = next(entries, None)
        while one is None and not listing.complete:
            # Nothing is here yet, or names that are gone by now: that is not the end.
            here = max(len(listing), offset - FIRST_ENTRY)
            with self.patience.bound("readdir", handle.node.name):
                await listing.wait_until(lambda it, here=here: len(it) > here)  # type: ignore[misc]
            entries = self._entries(handle, listing, here + FIRST_ENTRY)
            one = next(entries, None)
        return entries if one is None else chain((one,), entries)

    def _entries(self, handle: DirectoryHandle, listing: Entries, offset: int) -> Iterator[Listed]:
        node = handle.node
        if offset <= 0:
            yield Listed(b".", self._attributes(node), 0.0, 1, None)
        if offset <= 1:
            yield Listed(b"..", self._attributes(node.parent or node), 0.0, 2, None)
        for index, name, child, valid_s in self._namespace.rows(node, listing, max(0, offset - FIRST_ENTRY)):
            yield Listed(name, self._attributes(child), valid_s, index + FIRST_ENTRY + 1, child)

    def offered(self, node: Node | None, *, taken: bool) -> None:
        """An entry of `entries` was offered to the kernel: one that it took counts as looked up until `forget`."""
        if node is None:
            return
        if taken:
            node.lookups += 1
        else:
            self._inodes.drop_if_unknown(node)

    # ---- inside

    def _attributes(self, node: Node) -> Attributes:
        if isinstance(node, FileNode):
            return Attributes(node.ino, False, node.size, node.mtime_ns)
        return Attributes(node.ino, True, 0, self._started_ns)

    def _node(self, ino: int) -> Node:
        node = self._inodes.get(ino)
        if node is None:
            raise StaleHandleError(f"inode {ino} is not known")
        return node

    def _directory(self, ino: int) -> DirectoryNode:
        node = self._node(ino)
        if not isinstance(node, DirectoryNode):
            raise NotDirectoryError(f"{node.key}: is not a directory")
        return node

    def _heard(self) -> int:
        """Return a number that grows with everything that comes from the store."""
        return self._namespace.answers + self._cache.counters.bytes_fetched
