"""Every file of a dataset in packed columns: one file on disk, one buffer in memory, some 70 bytes a file.

Directories are numbered from 0 (the root) in the order of a walk, each followed by all that lies below it; files are
numbered directory by directory. So the files below any directory are one range, and a name is found by bisection. The
numbers never change.

On disk: magic, the SHA-256 of all that follows, the length of a JSON header, the header, the columns. A file that was
cut, damaged or written by another version is refused whole. `catalog.listing_builder` makes them.
"""

import hashlib
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

import msgspec

from mountd.errors import CorruptError, DeniedError, NotFoundError, UnavailableError
from mountd.units import ETag

MAGIC = b"mountdl1"
_DIGEST = slice(len(MAGIC), len(MAGIC) + 32)
_LENGTH = slice(_DIGEST.stop, _DIGEST.stop + 8)
COLUMNS: dict[str, Literal["B", "I", "Q", "q"]] = {
    "directory_names": "B",
    "directory_name_ends": "Q",
    "parents": "I",
    "subtree_ends": "I",
    "children": "I",
    "child_starts": "I",
    "file_starts": "I",
    "file_names": "B",
    "file_name_ends": "Q",
    "sizes": "q",
    "mtimes": "q",
    "etags": "B",
    "etag_ends": "Q",
    "sources": "I",
}
"""Name and type of each, in the order in which they lie in the file; the types of `array`."""
_ITEM = {"B": 1, "I": 4, "Q": 8, "q": 8}
"""Bytes of one item."""


class PackedSource(msgspec.Struct, frozen=True, array_like=True):
    """How the shown paths of one source become keys: what follows `shown` follows `key`."""

    store: int
    """Index of the member store."""
    key: str
    shown: str


class HiddenFile(msgspec.Struct, frozen=True, array_like=True):
    """A file that no path can show: its name, or the directory of the same name, does not allow it."""

    raw_path: bytes
    """As `encode` makes it: JSON holds no name that is not UTF-8."""
    source: int
    size: int
    mtime_ns: int
    etag: str

    @property
    def path(self) -> str:
        """Where it would show up."""
        return decode(self.raw_path)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about the whole."""

    byte_order: str = sys.byteorder
    single_file: bool
    """The source is one file, not a directory that happens to hold one."""
    labels: tuple[str, ...]
    """Each member store as `to_path()` spells it: `https%3A/%2Facct.blob.core.windows.net/c`; "" for the web."""
    sources: tuple[PackedSource, ...]
    hidden: tuple[HiddenFile, ...]
    """The first of them."""
    hidden_count: int
    counts: dict[str, int]
    """Items of each column."""


class Member(NamedTuple):
    """One object of one member store."""

    store: int
    key: str


class Version(NamedTuple):
    """The version that a file was pinned to."""

    size: int
    mtime_ns: int
    etag: ETag


class PackedListing:
    """The files of one dataset.

    Args:
        data: what `listing_builder` made, header and all.
        origin: where it came from, for errors.

    Raises:
        CorruptError: it is not a whole listing of this version's.
    """

    def __init__(self, data: bytes, origin: str) -> None:
        view = memoryview(data)
        if data[: len(MAGIC)] != MAGIC or len(data) < _LENGTH.stop:
            raise CorruptError(f"{origin}: is not a dataset's listing that this version of mountd reads; remove it")
        self.digest = bytes(view[_DIGEST]).hex()
        if hashlib.sha256(view[_DIGEST.stop :]).hexdigest() != self.digest:
            raise CorruptError(f"{origin}: is damaged, its checksum is wrong; restore it, or register a new version")
        at = _LENGTH.stop + int.from_bytes(view[_LENGTH], "little")
        self.header = msgspec.json.decode(view[_LENGTH.stop : at], type=Header)
        if self.header.byte_order != sys.byteorder:
            raise CorruptError(f"{origin}: was written by a {self.header.byte_order}-endian node; remove it")
        columns: dict[str, memoryview[int]] = {}
        for name, kind in COLUMNS.items():
            length = self.header.counts[name] * _ITEM[kind]
            columns[name] = view[at : at + length].cast(kind)
            at += length
        self._directory_names = columns["directory_names"]
        self._directory_name_ends = columns["directory_name_ends"]
        self._parents = columns["parents"]
        self._subtree_ends = columns["subtree_ends"]
        self._children = columns["children"]
        self._child_starts = columns["child_starts"]
        self._file_starts = columns["file_starts"]
        self._file_names = columns["file_names"]
        self._file_name_ends = columns["file_name_ends"]
        self._sizes = columns["sizes"]
        self._mtimes = columns["mtimes"]
        self._etags = columns["etags"]
        self._etag_ends = columns["etag_ends"]
        self._sources = columns["sources"]
        self.directories = len(self._parents)
        """The root included."""
        self.total_bytes = sum(self._sizes)

    def __len__(self) -> int:
        """How many files there are."""
        return len(self._sizes)

    # ---- the whole

    @property
    def single_file(self) -> str | None:
        """The name of the only file, where the source is one file."""
        return decode(self.file_name(0)) if self.header.single_file and len(self) == 1 else None

    def paths(self) -> Iterator[str]:
        """Yield the path of each file in the layout of mount and download, without a leading slash."""
        for directory in range(self.directories):
            prefix = self.directory_path(directory)
            prefix += "/" if prefix else ""
            for file in self.files(directory):
                yield prefix + decode(self.file_name(file))

    def runtime_paths(self) -> Iterator[str]:
        """Yield the path of each file as Azure ML's `to_path()` prints it.

        That is the path of the mount, with a leading slash, unless there are several sources: then scheme, host and
        container are part of it.
        """
        several = len(self.header.sources) > 1
        for file, path in enumerate(self.paths()):
            if several:
                member = self.member(file, path)
                yield f"/{_runtime_path(self.header.labels[member.store], member.key)}"
            else:
                yield f"/{path}"

    # ---- directories

    def parent(self, directory: int) -> int:
        """Return the directory that holds `directory`; the root's is the root."""
        return self._parents[directory]

    def directory_name(self, directory: int) -> bytes:
        """Return the last part of its path."""
        ends = self._directory_name_ends
        return bytes(self._directory_names[ends[directory - 1] if directory else 0 : ends[directory]])

    def directory_path(self, directory: int) -> str:
        """Return its path, "" for the root."""
        parts: list[bytes] = []
        while directory:
            parts.append(self.directory_name(directory))
            directory = self._parents[directory]
        return decode(b"/".join(reversed(parts)))

    def children(self, directory: int) -> "memoryview[int]":
        """Return the directories in `directory`, sorted by name."""
        return self._children[self._child_starts[directory] : self._child_starts[directory + 1]]

    def files(self, directory: int) -> range:
        """Return the files in `directory`, sorted by name."""
        return range(self._file_starts[directory], self._file_starts[directory + 1])

    def files_below(self, directory: int) -> range:
        """Return the files below `directory`, at any depth."""
        return range(self._file_starts[directory], self._file_starts[self._subtree_ends[directory]])

    def find_directory(self, directory: int, name: bytes) -> int:
        """Return the directory `name` in `directory`, or -1."""
        children = self.children(directory)
        at = bisect_left(children, name, key=self.directory_name)
        return children[at] if at < len(children) and self.directory_name(children[at]) == name else -1

    def walk_to(self, path: str) -> int:
        """Return the directory at `path` ("" is the root), or -1."""
        directory = 0
        for part in encode(path).split(b"/") if path else ():
            directory = self.find_directory(directory, part)
            if directory < 0:
                break
        return directory

    # ---- files

    def file_name(self, file: int) -> bytes:
        """Return the last part of its path."""
        ends = self._file_name_ends
        return bytes(self._file_names[ends[file - 1] if file else 0 : ends[file]])

    def find_file(self, directory: int, name: bytes) -> int:
        """Return the file `name` in `directory`, or -1."""
        files = self.files(directory)
        at = bisect_left(files, name, key=self.file_name)
        return files[at] if at < len(files) and self.file_name(files[at]) == name else -1

    def find(self, path: str) -> int:
        """Return the file at `path`, or -1."""
        above, slash, name = path.rpartition("/")
        directory = self.walk_to(above) if above or not slash else -1
        return -1 if directory < 0 else self.find_file(directory, encode(name))

    def directory_of(self, file: int) -> int:
        """Return the directory that holds `file`."""
        # The last one that starts at or before the file: those before it that start there too are empty.
        return bisect_right(self._file_starts, file) - 1

    def path(self, file: int) -> str:
        """Return its path in the layout of mount and download."""
        above = self.directory_path(self.directory_of(file))
        name = decode(self.file_name(file))
        return f"{above}/{name}" if above else name

    def version(self, file: int) -> Version:
        """Return what it was pinned to."""
        ends = self._etag_ends
        etag = bytes(self._etags[ends[file - 1] if file else 0 : ends[file]]).decode()
        return Version(self._sizes[file], self._mtimes[file], ETag(etag))

    def member(self, file: int, path: str) -> Member:
        """Return the object behind `file`, whose path is `path`."""
        return self.member_of(self._sources[file], path)

    def member_of(self, source: int, path: str) -> Member:
        """Return the object behind a file of `source` that is shown, or would be, at `path`."""
        found = self.header.sources[source]
        return Member(found.store, found.key + path[len(found.shown) :])


def _runtime_path(label: str, key: str) -> str:
    if not label:  # a web file, whose key begins with scheme and host
        scheme, host, key = key.split("/", 2)
        label = f"{scheme}%3A/{quote('/' + host, safe='')}"
    return "/".join([label, *(quote(part, safe="") for part in key.split("/"))])


def encode(text: str) -> bytes:
    """Return a path as the bytes that are kept; what is not UTF-8 survives."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """Return the path that `encode` was given."""
    return data.decode("utf-8", "surrogateescape")


def read_listing(path: Path) -> PackedListing:
    """Return the listing in the file `path`; blocks, for a million files a fifth of a second.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: it is not whole.
        MountdError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            f"{path}: the dataset's pinned listing is gone; restore it, or register a new version"
        ) from None
    except PermissionError:
        raise DeniedError(f"{path}: permission to read the dataset's pinned listing is missing") from None
    except OSError as error:
        raise UnavailableError(f"{path}: the dataset's pinned listing cannot be read: {error.strerror}") from None
    return PackedListing(data, str(path))


def read_header(path: Path) -> Header | None:
    """Return what the listing in `path` says about the whole; None where `read_listing` will say what is wrong.

    Reads no more than that, and does not check the rest.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH.stop)
            if start[: len(MAGIC)] != MAGIC:
                return None
            return msgspec.json.decode(file.read(int.from_bytes(start[_LENGTH], "little")), type=Header)
    except (OSError, OverflowError, MemoryError, msgspec.MsgspecError):
        return None


def seal(header: Header, columns: dict[str, bytes]) -> bytes:
    """Return the whole file of a listing."""
    encoded = msgspec.json.encode(header)
    body = b"".join([len(encoded).to_bytes(8, "little"), encoded, *(columns[name] for name in COLUMNS)])
    return b"".join([MAGIC, hashlib.sha256(body).digest(), body])
