"""Fetching small files before they are opened, where a directory is being scanned in its order.

That takes a little more of the processor for each file, and saves the time of a request: it is done where a store is so
far away that the latter is more. Whoever waits for something else goes first: no more are on their way at once than the
link and the store take without making each wait for the others (`aio/abreast.py`).
"""

from collections import OrderedDict
from collections.abc import Callable

from mountd.aio.abreast import Abreast
from mountd.cache.block_cache import BlockCache
from mountd.cache.version import ObjectVersion
from mountd.tree import names
from mountd.tree.base import Tree
from mountd.tree.inodes import FileNode
from mountd.units import KIB, MIB
from mountd.vfs.scans import LARGEST_WINDOW, Scans

AHEAD_BYTES = 16 * MIB
"""Bytes ahead of one scan, about: counted as if the files were as large as the one that is being opened."""
WORTH_S = 0.003
"""What a request has to take at the least."""
MOST_DIRECTORIES = 64
"""Directories whose scans are known; the one where nothing was opened for longest makes room."""


class LookAhead:
    """Of one mount.

    Args:
        namespace: knows what comes after a file.
        cache: keeps what is fetched until it is opened, or its memory is needed.
        largest_file: files larger than this are left alone, bytes.
        request_s: returns what a request takes at the least, as far as is known.
    """

    def __init__(
        self, namespace: Tree, cache: BlockCache, *, largest_file: int, request_s: Callable[[], float]
    ) -> None:
        self._namespace = namespace
        self._cache = cache
        self._largest_file = largest_file
        self._request_s = request_s
        self._abreast = Abreast(request_s)
        self._scans: OrderedDict[int, Scans] = OrderedDict()
        """By directory."""

    def opening(self, node: FileNode, *, stalled: bool) -> None:
        """A file is being opened that the kernel has nothing of; `stalled`: its bytes are yet to come."""
        if node.size > self._largest_file or self._request_s() < WORTH_S:
            return
        place = self._namespace.place(node)
        if place is None:
            return
        directory = node.parent
        scans = self._of(directory.ino)
        largest = min(LARGEST_WINDOW, AHEAD_BYTES // max(node.size, KIB))
        for ahead, name, entry in self._namespace.unread(
            directory, scans.observe(place, stalled=stalled, largest=largest)
        ):
            if 0 < entry.size <= self._largest_file:
                if not self._abreast.has_place:
                    scans.later(ahead)
                    return
                key = names.child_key(directory.key, names.decode(name))
                if not self._cache.fetch_whole(ObjectVersion(key, entry.etag, entry.size), self._abreast):
                    scans.refused(ahead)
                    return

    def _of(self, directory: int) -> Scans:
        scans = self._scans.get(directory)
        if scans is None:
            if len(self._scans) >= MOST_DIRECTORIES:
                self._scans.popitem(last=False)
            scans = self._scans[directory] = Scans()
        else:
            self._scans.move_to_end(directory)
        return scans
