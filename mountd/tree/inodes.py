"""Inodes: one number for one version of one name, for as long as the kernel or a handle knows it.

- Numbers are never used again within a mount, so the generation is always 0.
- A file's node is bound to one version. When its object is replaced by someone else's hand the name gets a new node and
  the old one is `stale`: handles keep it, new opens are refused with ESTALE.
- `lookups` counts what the kernel was told and has not forgotten; a node without lookups and handles leaves the table.
"""

import math
from collections.abc import Iterator

from mountd.tree import names
from mountd.tree.listing import Entry, Listing

ROOT = 1
"""The root's number, set by the FUSE protocol (FUSE_ROOT_ID)."""


class FileNode:
    """One version of one file."""

    __slots__ = (
        "asked_at",
        "delivered",
        "etag",
        "handles",
        "ino",
        "lookups",
        "mtime_ns",
        "name",
        "parent",
        "size",
        "stale",
    )

    def __init__(self, ino: int, parent: "DirectoryNode", name: bytes, entry: Entry) -> None:
        self.ino = ino
        self.parent = parent
        self.name = name
        self.size = entry.size
        self.mtime_ns = entry.mtime_ns
        self.etag = entry.etag
        self.lookups = 0
        self.handles = 0
        self.asked_at = -math.inf
        """When the newest answer that named this version was asked for, on the loop's clock."""
        self.stale = False
        """The name stands for another version, or for nothing."""
        self.delivered = False
        """What `open` fetches was handed to the kernel, which probably holds its pages."""

    @property
    def key(self) -> str:
        """The object's key."""
        return names.child_key(self.parent.key, names.decode(self.name))


class Known:
    """What a question about one name was answered, apart from any listing."""

    __slots__ = ("asked_at", "doubtful", "entry")

    def __init__(self, entry: Entry | None, asked_at: float, *, doubtful: bool = False) -> None:
        self.entry = entry
        """None: there is no such name."""
        self.asked_at = asked_at
        self.doubtful = doubtful
        """The store contradicted whatever is known up to `asked_at`: it must be asked again."""


class DirectoryNode:
    """One directory, for as long as the kernel or a child knows it."""

    __slots__ = (
        "asked",
        "children",
        "handles",
        "ino",
        "key",
        "known",
        "listing",
        "loading",
        "lookups",
        "name",
        "parent",
    )

    def __init__(self, ino: int, parent: "DirectoryNode | None", name: bytes, key: str) -> None:
        self.ino = ino
        self.parent = parent
        self.name = name
        self.key = key
        self.lookups = 0
        self.handles = 0
        self.children: dict[bytes, Node] = {}
        """The current node of each name that has one."""
        self.listing: Listing | None = None
        """The last complete one."""
        self.loading: Listing | None = None
        self.known: dict[bytes, Known] = {}
        self.asked = 0
        """Names asked for one by one since the last complete listing."""


Node = FileNode | DirectoryNode


class InodeTable:
    """All nodes that the kernel or a handle knows, by number; and the root, always."""

    def __init__(self, root_key: str) -> None:
        self.root = DirectoryNode(ROOT, None, b"", root_key)
        self._nodes: dict[int, Node] = {ROOT: self.root}
        self._next = ROOT + 1
        self.changed_objects = 0
        """How many names were seen to be replaced by another version."""

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def get(self, ino: int) -> Node | None:
        """Return the node with this number, if it is known."""
        return self._nodes.get(ino)

    def adopt(self, parent: DirectoryNode, name: bytes, entry: Entry) -> Node:
        """Return the current node of `name`, made anew if there is none or it is another version."""
        node = parent.children.get(name)
        if node is not None:
            if entry.is_directory:
                if isinstance(node, DirectoryNode):
                    return node
            elif isinstance(node, FileNode):
                if node.etag == entry.etag and node.size == entry.size:
                    return node
                self.changed_objects += 1
            self.detach(node)
        ino = self._next
        self._next += 1
        made: Node
        if entry.is_directory:
            made = DirectoryNode(ino, parent, name, names.child_key(parent.key, names.decode(name)))
        else:
            made = FileNode(ino, parent, name, entry)
        self._nodes[ino] = parent.children[name] = made
        return made

    def detach(self, node: Node) -> None:
        """The name stands for something else, or nothing, from now on."""
        if isinstance(node, FileNode):
            node.stale = True
        parent = node.parent
        if parent is not None and parent.children.get(node.name) is node:
            del parent.children[node.name]
        self._drop_if_unknown(node)

    def forget(self, ino: int, count: int) -> None:
        """The kernel takes back `count` lookups."""
        node = self._nodes.get(ino)
        if node is not None:
            node.lookups = max(0, node.lookups - count)
            self._drop_if_unknown(node)

    def hold(self, node: Node) -> None:
        """A handle was opened."""
        node.handles += 1

    def let_go(self, node: Node) -> None:
        """A handle was closed."""
        node.handles -= 1
        self._drop_if_unknown(node)

    def drop_if_unknown(self, node: Node) -> None:
        """Remove a node that was made but never told to the kernel."""
        self._drop_if_unknown(node)

    def mark_delivered(self, node: FileNode) -> None:
        """What `open` fetches of the node was handed to the kernel."""
        node.delivered = True

    def _drop_if_unknown(self, node: Node) -> None:
        if node.lookups or node.handles or node is self.root:
            return
        if self._nodes.pop(node.ino, None) is not None:
            parent = node.parent
            if parent is not None and parent.children.get(node.name) is node:
                del parent.children[node.name]
