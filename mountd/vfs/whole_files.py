"""Files that the kernel may read itself: what is asked of them, and which inodes it is asked for."""

from typing import Protocol

from mountd.cache.version import ObjectVersion
from mountd.tree.inodes import FileNode, Node
from mountd.vfs.opens import WHOLE_AT_OPEN


class WholeFile(Protocol):
    """A file that holds the bytes of one version, all of them as they were written when it was last looked at.

    Two are equal if they are the same file, and it did not change from one look to the other.
    """

    def open(self) -> int:
        """Return a descriptor of it; blocks.

        Raises:
            FileNotFoundError: it is gone, or not the same any more.
            OSError: its disk is in trouble.
        """

    def open_now(self) -> int | None:
        """Return a descriptor of it if nobody has to be waited for; None: `open` it; does not block."""

    def opened(self) -> None:
        """Keep it where it is; as often as `closed` is called."""

    def closed(self) -> None:
        """It need not be kept any more."""

    def failed(self, error: Exception) -> None:
        """`open` raised `error`, or did not come back in time."""


class WholeFiles(Protocol):
    """Says which versions lie in such files."""

    def find(self, version: ObjectVersion) -> WholeFile | None:
        """Return the file of a version; None: there is none, or it has to be looked at first, which begins now."""


class Inodes(Protocol):
    """The inodes of a mount."""

    def get(self, ino: int) -> Node | None:
        """Return the node with this number, if it is known."""


class WholeInodes:
    """The inodes whose bytes lie in such files, of those that are too large to be fetched by `open`.

    Args:
        inodes: all there are.
        files: says which versions lie in files; None: none of them.
    """

    def __init__(self, inodes: Inodes, files: WholeFiles | None) -> None:
        self._inodes = inodes
        self._files = files

    def find(self, ino: int) -> WholeFile | None:
        """Return the file of an inode whose version was found to be current; None: reads have to come to the mount."""
        if self._files is None:
            return None
        node = self._inodes.get(ino)
        if not isinstance(node, FileNode) or node.size <= WHOLE_AT_OPEN:
            return None
        return self._files.find(ObjectVersion(node.key, node.etag, node.size))

    def give_up(self) -> None:
        """The kernel will read none of them: leave them alone, and bring first bytes at each open."""
        self._files = None

    def holds(self, ino: int) -> bool:
        """Whether `find` finds one."""
        return self.find(ino) is not None
