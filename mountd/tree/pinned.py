"""The tree of a dataset: all of it known from the start, and never another one.

No store is asked and no node is kept: a node is made from its number when it is needed, and its number from its place
in the listing. What the kernel holds therefore costs nothing here but one bit a file, a million names as little as
ten, and a worker that takes over serves the same numbers.

A file whose version is gone from its store keeps its name and its attributes; opening it is refused (ESTALE) without
asking the store again for `GONE_S`, and the log names it.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import trio

from mountd.catalog.packed_listing import PackedListing
from mountd.observe.logs import get_logger
from mountd.tree.base import Answer, Entries, Row
from mountd.tree.inodes import ROOT, DirectoryNode, FileNode, Node
from mountd.tree.listing import A_DIRECTORY, Entry

log = get_logger("mountd.tree")

GONE_S = 30.0
"""How long a file stays refused: whoever puts the old version back is served again after this."""
MOST_DIRECTORIES = 4096
"""Directory nodes at hand: those that are being walked."""


class PinnedInodes:
    """All nodes of a listing, whether the kernel has heard of them or not.

    Directory d has the number 1 + d, and file f the number 1 + all directories + f.
    """

    def __init__(self, listing: PackedListing) -> None:
        self._listing = listing
        self._first_file = ROOT + listing.directories
        self._delivered = bytearray(len(listing) // 8 + 1)
        self._gone: dict[int, float] = {}
        self.directory = lru_cache(maxsize=MOST_DIRECTORIES)(self._directory)
        self.root = self.directory(0)
        self.changed_objects = 0
        """How many files were seen to be gone in the version that is pinned."""

    def __len__(self) -> int:
        return self._listing.directories + len(self._listing)

    def get(self, ino: int) -> Node | None:
        """Return the node with this number."""
        if not ROOT <= ino < self._first_file + len(self._listing):
            return None
        if ino < self._first_file:
            return self.directory(ino - ROOT)
        file = ino - self._first_file
        return self.file(file, self.directory(self._listing.directory_of(file)))

    def file(self, file: int, parent: DirectoryNode, name: bytes | None = None) -> FileNode:
        """Return a node for `file`, which lies in `parent`."""
        node = FileNode(
            self._first_file + file, parent, name or self._listing.file_name(file), Entry(*self._listing.version(file))
        )
        node.delivered = self.is_delivered(file)
        node.stale = file in self._gone and self._is_gone(file)
        return node

    def number_of(self, node: FileNode) -> int:
        """Return which file of the listing the node stands for."""
        return node.ino - self._first_file

    def is_delivered(self, file: int) -> bool:
        """Whether what `open` fetches was handed to the kernel."""
        return bool(self._delivered[file >> 3] >> (file & 7) & 1)

    def mark_gone(self, node: FileNode) -> None:
        """The store no longer has the version that is pinned."""
        file = node.ino - self._first_file
        if file not in self._gone:
            self.changed_objects += 1
            log.warning("a file of the dataset is no longer what was pinned", file=node.key, etag=node.etag)
        self._gone[file] = trio.current_time() + GONE_S
        node.stale = True

    def mark_delivered(self, node: FileNode) -> None:
        """What `open` fetches was handed to the kernel."""
        file = node.ino - self._first_file
        self._delivered[file >> 3] |= 1 << (file & 7)
        node.delivered = True

    def forget(self, ino: int, count: int) -> None:  # noqa: ARG002 - nothing is counted
        """The kernel let go of the node, and of its pages."""
        file = ino - self._first_file
        if file >= 0:
            self._delivered[file >> 3] &= ~(1 << (file & 7))

    def hold(self, node: Node) -> None:
        """Nothing has to be kept for a handle."""

    def let_go(self, node: Node) -> None:
        """As `hold`."""

    def drop_if_unknown(self, node: Node) -> None:
        """As `hold`."""

    def _is_gone(self, file: int) -> bool:
        return trio.current_time() < self._gone[file]

    def _directory(self, directory: int) -> DirectoryNode:
        if directory == 0:
            return DirectoryNode(ROOT, None, b"", "")
        parent = self.directory(self._listing.parent(directory))
        name, key = self._listing.directory_name(directory), self._listing.directory_path(directory)
        return DirectoryNode(ROOT + directory, parent, name, key)


class PinnedEntries:
    """The entries of one directory: first the directories in it, then the files."""

    complete = True

    def __init__(self, listing: PackedListing, directory: int) -> None:
        self._listing = listing
        self.directories = listing.children(directory)
        self.files = listing.files(directory)
        self._directory = directory

    def __len__(self) -> int:
        return len(self.directories) + len(self.files)

    async def wait_until(self, ready: Callable[[Entries], bool]) -> None:  # noqa: ARG002 - nothing to wait for
        """Return: all entries are here."""
        await trio.lowlevel.checkpoint()

    def name(self, index: int) -> bytes:
        """Return the name of an entry."""
        split = len(self.directories)
        if index < split:
            return self._listing.directory_name(self.directories[index])
        return self._listing.file_name(self.files[index - split])

    def entry(self, index: int) -> Entry:
        """Return what is known of it."""
        split = len(self.directories)
        return A_DIRECTORY if index < split else Entry(*self._listing.version(self.files[index - split]))

    def entry_asked_at(self, index: int) -> float:  # noqa: ARG002 - the same for all
        """Return the beginning of time: none of this was asked for."""
        return -math.inf


class PinnedNamespace:
    """The tree of one dataset.

    Args:
        listing: its files.
    """

    final = True

    def __init__(self, listing: PackedListing) -> None:
        self._listing = listing
        self.inodes = PinnedInodes(listing)
        self.hidden_names = listing.header.hidden_count
        self.answers = 0
        """Nothing is ever asked."""

    async def lookup(self, directory: DirectoryNode, name: bytes) -> Answer:
        """Say what `name` stands for in `directory`."""
        await trio.lowlevel.checkpoint()
        return self.settled(directory, name)

    def settled(self, directory: DirectoryNode, name: bytes) -> Answer:
        """Say the same at once."""
        number = directory.ino - ROOT
        child = self._listing.find_directory(number, name)
        if child >= 0:
            return Answer(self.inodes.directory(child), math.inf)
        file = self._listing.find_file(number, name)
        return Answer(self.inodes.file(file, directory, name) if file >= 0 else None, math.inf)

    def current(self, node: FileNode) -> bool:
        """Whether its version is not known to be gone."""
        return not node.stale

    def doubt(self, node: FileNode) -> None:
        """The store no longer has this version: there will be no other."""
        self.inodes.mark_gone(node)

    def place(self, node: FileNode) -> int:
        """Return the index of a file in its directory."""
        directory = node.parent.ino - ROOT
        before = len(self._listing.children(directory))
        return before + self._listing.files(directory).index(self.inodes.number_of(node))

    def unread(self, directory: DirectoryNode, places: range) -> Iterator[tuple[int, bytes, Entry]]:
        """Yield index, name and version of the files at `places` of which the kernel has nothing."""
        entries = self.listing(directory)
        for place in range(max(places.start, len(entries.directories)), min(places.stop, len(entries))):
            if not self.inodes.is_delivered(entries.files[place - len(entries.directories)]):
                yield place, entries.name(place), entries.entry(place)

    def listing(self, directory: DirectoryNode) -> PinnedEntries:
        """Return the entries of `directory`."""
        return PinnedEntries(self._listing, directory.ino - ROOT)

    def rows(self, directory: DirectoryNode, listing: Entries, first: int) -> Iterator[Row]:
        """Yield the entries from index `first` on, each with its node."""
        assert isinstance(listing, PinnedEntries), "handles read the listings that this tree gave them"
        split = len(listing.directories)
        for index in range(first, split):
            child = self.inodes.directory(listing.directories[index])
            yield Row(index, child.name, child, math.inf)
        for index in range(max(first, split), len(listing)):
            node = self.inodes.file(listing.files[index - split], directory)
            yield Row(index, node.name, node, math.inf)
