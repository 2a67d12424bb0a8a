"""Open files and directories, by handle number. Numbers are never used again within a mount."""

from typing import TypeVar

from mountd.cache.cached_object import CachedObject
from mountd.errors import StaleHandleError
from mountd.tree.base import Entries
from mountd.tree.inodes import DirectoryNode, FileNode

H = TypeVar("H")


class FileHandle:
    """An open file: pinned to the version that its inode stands for."""

    __slots__ = ("cached", "node")

    def __init__(self, node: FileNode, cached: CachedObject | None = None) -> None:
        self.node = node
        self.cached = cached
        """Acquired by the first read if not by `open`; who reads from the kernel's pages only needs none."""


class DirectoryHandle:
    """An open directory: reads one listing from its start to its end, and a new one after a rewind."""

    __slots__ = ("listing", "node")

    def __init__(self, node: DirectoryNode) -> None:
        self.node = node
        self.listing: Entries | None = None


class HandleTable:
    """Handles by number."""

    def __init__(self) -> None:
        self._handles: dict[int, FileHandle | DirectoryHandle] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._handles)

    def add(self, handle: FileHandle | DirectoryHandle) -> int:
        """Return the number of a new handle."""
        number = self._next
        self._next += 1
        self._handles[number] = handle
        return number

    def file(self, number: int) -> FileHandle:
        """Return the open file."""
        handle = self._handles.get(number)
        if not isinstance(handle, FileHandle):
            raise StaleHandleError(f"handle {number} is not an open file")
        return handle

    def directory(self, number: int) -> DirectoryHandle:
        """Return the open directory."""
        handle = self._handles.get(number)
        if not isinstance(handle, DirectoryHandle):
            raise StaleHandleError(f"handle {number} is not an open directory")
        return handle

    def remove(self, number: int) -> FileHandle | DirectoryHandle | None:
        """Forget a handle and return it."""
        return self._handles.pop(number, None)
