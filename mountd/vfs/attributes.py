"""What `stat` shows, as plain numbers."""

from typing import NamedTuple

from mountd.tree.inodes import Node


class Attributes(NamedTuple):
    """The attributes of one inode; those of a file never change, because an inode is one version."""

    ino: int
    is_directory: bool
    size: int
    """Bytes; 0 for a directory."""
    mtime_ns: int


class Looked(NamedTuple):
    """The answer to a lookup."""

    attributes: Attributes | None
    """None: there is no such name."""
    valid_s: float
    """For how long the kernel may use the answer without asking."""


class Listed(NamedTuple):
    """One entry of a directory."""

    name: bytes
    attributes: Attributes
    valid_s: float
    next_offset: int
    """Where to go on after this entry."""
    node: Node | None
    """To be counted as looked up once the kernel took the entry; None for `.` and `..`, which are not counted."""


class Capacity(NamedTuple):
    """What `statfs` shows."""

    total_bytes: int
    free_bytes: int
    files: int
