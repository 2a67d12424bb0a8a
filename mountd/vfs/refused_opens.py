"""Files that could not be opened in the version that was asked for, by who asked.

The kernel looks such a name up again, in the same system call of the same thread: that lookup has to find a version
that this thread can open.
"""

from mountd.tree.inodes import FileNode

MOST = 10_000
"""More threads than this do not look up again at the same moment."""


class RefusedOpen:
    """An `open` that was refused, until the same thread opens something."""

    __slots__ = ("name", "parent", "promised")

    def __init__(self, parent: int, name: bytes) -> None:
        self.parent = parent
        self.name = name
        self.promised: FileNode | None = None
        """The node to open for this caller whatever has become of it meanwhile: its first bytes were just fetched."""


class RefusedOpens:
    """The last one of each thread."""

    def __init__(self) -> None:
        self._by_caller: dict[int, RefusedOpen] = {}

    def __contains__(self, caller: int) -> bool:
        """Whether the last `open` of this thread was refused."""
        return caller in self._by_caller

    def note(self, caller: int, node: FileNode) -> None:
        """`node` could not be opened for this thread."""
        if len(self._by_caller) >= MOST:
            self._by_caller.clear()  # of threads that have ended in between
        self._by_caller[caller] = RefusedOpen(node.parent.ino, node.name)

    def of(self, caller: int, parent: int, name: bytes) -> RefusedOpen | None:
        """Return the refused open of this thread, if it was of this name in the directory `parent`."""
        refused = self._by_caller.get(caller)
        return refused if refused is not None and (refused.parent, refused.name) == (parent, name) else None

    def take(self, caller: int) -> RefusedOpen | None:
        """This thread opens something: return and forget what it was refused."""
        return self._by_caller.pop(caller, None)
