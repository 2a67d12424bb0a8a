"""What the file system needs of a tree: names to nodes, nodes by number, entries of directories.

`tree.namespace` is the tree of a store that may change; `tree.pinned` that of a dataset, which does not.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from mountd.tree.inodes import DirectoryNode, FileNode, Node
from mountd.tree.listing import Entry


class Answer(NamedTuple):
    """What a name stands for."""

    node: Node | None
    """None: nothing."""
    valid_s: float
    """For how long the kernel may use the answer without asking; may be 0."""


class Row(NamedTuple):
    """One entry of a directory."""

    place: int
    """Its index in the listing."""
    name: bytes
    node: Node
    valid_s: float
    """As in `Answer`."""


class Entries(Protocol):
    """The entries of one directory; an entry's index never changes."""

    def __len__(self) -> int:
        """How many are here."""

    @property
    def complete(self) -> bool:
        """Whether no more will come."""

    async def wait_until(self, ready: Callable[["Entries"], bool]) -> None:
        """Wait until `ready(self)`, or until no more will come."""

    def name(self, index: int) -> bytes:
        """Return the name of an entry."""

    def entry(self, index: int) -> Entry:
        """Return what is known of it."""

    def entry_asked_at(self, index: int) -> float:
        """Return when that was asked for, on the loop's clock."""


class Inodes(Protocol):
    """Nodes by number."""

    @property
    def changed_objects(self) -> int:
        """How many names were seen to stand for another version, or for nothing any more."""

    def __len__(self) -> int:
        """How many nodes are known."""

    def get(self, ino: int) -> Node | None:
        """Return the node with this number, if it is known."""

    def forget(self, ino: int, count: int) -> None:
        """The kernel takes back `count` lookups."""

    def hold(self, node: Node) -> None:
        """A handle was opened."""

    def let_go(self, node: Node) -> None:
        """A handle was closed."""

    def drop_if_unknown(self, node: Node) -> None:
        """A node was made and not told to the kernel."""

    def mark_delivered(self, node: FileNode) -> None:
        """What `open` fetches of the node was handed to the kernel."""


class Tree(Protocol):
    """The tree of one mount."""

    @property
    def final(self) -> bool:
        """Whether no name will ever stand for another version."""

    @property
    def inodes(self) -> Inodes:
        """Its nodes."""

    @property
    def hidden_names(self) -> int:
        """How many names no path can express, as far as is known."""

    @property
    def answers(self) -> int:
        """A number that grows with every answer that comes from the store."""

    async def lookup(self, directory: DirectoryNode, name: bytes) -> Answer:
        """Say what `name` stands for in `directory`."""

    def settled(self, directory: DirectoryNode, name: bytes) -> Answer | None:
        """Return the answer if it takes no question to the store; None: it takes a `lookup`."""

    def current(self, node: FileNode) -> bool:
        """Whether the node is known to be what its name stands for; says no when in doubt."""

    def doubt(self, node: FileNode) -> None:
        """The store no longer has this node's version."""

    def place(self, node: FileNode) -> int | None:
        """Return the index of a file in the complete listing of its directory; None: there is none, or not of it."""

    def unread(self, directory: DirectoryNode, places: range) -> Iterator[tuple[int, bytes, Entry]]:
        """Yield index, name and version of the files at `places` of which the kernel has nothing."""

    def listing(self, directory: DirectoryNode) -> Entries:
        """Return the entries of `directory`; they may still be arriving."""

    def rows(self, directory: DirectoryNode, listing: Entries, first: int) -> Iterator[Row]:
        """Yield the entries that are here from index `first` on, each with its node."""
