"""Collects the files of a dataset and packs them (`catalog.packed_listing`).

- Where two sources show different objects at one path, that is an error that names both; one object found twice counts
  once, also through two stores that are the same place.
- A directory shadows a file of its name, wherever the two come from: the file could be read, but nothing below the
  directory could. A name that no path can express is hidden too. Hidden files are counted, and the first are kept, so
  that a download can name them; an empty file beside a directory of its name is some tool's marker, and no loss.

Costs some 200 bytes a file until `build` is through.
"""

from array import array
from collections.abc import Iterable, Sequence

from mountd.catalog.packed_listing import COLUMNS, Header, HiddenFile, PackedSource, encode, seal
from mountd.errors import UsageError

LONGEST_NAME = 255
MOST_HIDDEN = 10_000
"""Hidden files that are kept by name."""


class _Directory:
    __slots__ = ("children", "etags", "files", "mtimes", "names", "path", "sizes", "sources")

    def __init__(self, path: str) -> None:
        self.path = path
        self.children: dict[bytes, _Directory] = {}
        self.files: dict[bytes, int] = {}
        """Places of names in the columns below."""
        self.names: list[bytes] = []
        self.sizes = array("q")
        self.mtimes = array("q")
        self.etags: list[bytes] = []
        self.sources = array("I")


class ListingBuilder:
    """Takes files in any order.

    Args:
        sources: how shown paths become keys; the `source` of `add` counts in it.
        texts: each source as the user wrote it, for errors.
        labels: each member store as `to_path()` spells it.
    """

    def __init__(self, sources: Sequence[PackedSource], texts: Sequence[str], labels: Sequence[str]) -> None:
        self._packed = tuple(sources)
        self._texts = texts
        self._labels = tuple(labels)
        self._root = _Directory("")
        self._directories: dict[str, _Directory | None] = {"": self._root}
        """By path; None: no path can express it."""
        self._hidden: list[HiddenFile] = []
        self._hidden_count = 0
        self.files = 0

    def add(self, path: str, source: int, size: int, mtime_ns: int, etag: str) -> None:
        """Add one file.

        Raises:
            UsageError: another object is shown at `path`.
        """
        above, _, last = path.rpartition("/")
        name = encode(last)
        directory = None
        if _expressible(name) and not path.startswith("/"):  # else no directory is made for it either
            directory = self._directories[above] if above in self._directories else self._make(above)
        if directory is None:
            self._hide(HiddenFile(encode(path), source, size, mtime_ns, etag))
            return
        known = directory.files.setdefault(name, len(directory.names))
        if known < len(directory.names):
            self._check_same(path, directory.sources[known], source)
            return
        directory.names.append(name)
        directory.sizes.append(size)
        directory.mtimes.append(mtime_ns)
        directory.etags.append(etag.encode())
        directory.sources.append(source)
        self.files += 1

    def build(self, *, single_file: bool) -> bytes:
        """Return the listing's file; nothing can be added afterwards."""
        columns = {name: array(kind) for name, kind in COLUMNS.items() if kind != "B"}
        blobs = {name: bytearray() for name, kind in COLUMNS.items() if kind == "B"}
        order: list[_Directory] = []
        parents = columns["parents"]
        ends = columns["subtree_ends"]
        numbers: dict[int, int] = {}
        # each directory, then all that lies below it; a None closes the subtree of the number beside it
        pending: list[tuple[_Directory | None, int]] = [(self._root, 0)]
        while pending:
            directory, number = pending.pop()
            if directory is None:
                ends[number] = len(order)
                continue
            here = len(order)
            numbers[id(directory)] = here
            order.append(directory)
            parents.append(number)
            ends.append(0)
            pending.append((None, here))
            pending += [(directory.children[name], here) for name in sorted(directory.children, reverse=True)]
        for directory in order:
            blobs["directory_names"] += encode(directory.path.rpartition("/")[2])
            columns["directory_name_ends"].append(len(blobs["directory_names"]))
            columns["child_starts"].append(len(columns["children"]))
            columns["children"].extend(numbers[id(directory.children[name])] for name in sorted(directory.children))
            columns["file_starts"].append(len(columns["sizes"]))
            self._pack_files(directory, columns, blobs)
        columns["child_starts"].append(len(columns["children"]))
        columns["file_starts"].append(len(columns["sizes"]))
        packed = {name: bytes(blobs[name]) for name in blobs} | {name: columns[name].tobytes() for name in columns}
        counts = {name: len(blobs[name]) for name in blobs} | {name: len(columns[name]) for name in columns}
        header = Header(
            single_file=single_file,
            labels=self._labels,
            sources=self._packed,
            hidden=tuple(self._hidden),
            hidden_count=self._hidden_count,
            counts=counts,
        )
        return seal(header, packed)

    def _pack_files(self, directory: _Directory, columns: dict[str, "array[int]"], blobs: dict[str, bytearray]) -> None:
        names = directory.names
        places: Iterable[int] = sorted(range(len(names)), key=names.__getitem__)
        for place in places:
            if names[place] in directory.children:
                self._shadow(directory, place)
                continue
            blobs["file_names"] += names[place]
            columns["file_name_ends"].append(len(blobs["file_names"]))
            columns["sizes"].append(directory.sizes[place])
            columns["mtimes"].append(directory.mtimes[place])
            blobs["etags"] += directory.etags[place]
            columns["etag_ends"].append(len(blobs["etags"]))
            columns["sources"].append(directory.sources[place])

    def _make(self, path: str) -> _Directory | None:
        if not all(_expressible(encode(part)) for part in path.split("/")):
            self._directories[path] = None
            return None
        above, _, last = path.rpartition("/")
        parent = self._directories[above] if above in self._directories else self._make(above)
        assert parent is not None, "each part of its path is a part of this one"
        made = self._directories[path] = parent.children[encode(last)] = _Directory(path)
        return made

    def _check_same(self, path: str, first: int, second: int) -> None:
        if self._object(first, path) != self._object(second, path):
            raise self._collision(path, first, second)

    def _shadow(self, directory: _Directory, place: int) -> None:
        """Hide a file beside a directory of its name."""
        name, source = directory.names[place], directory.sources[place]
        below = directory.children[name]
        path = below.path
        while not below.sources:
            below = next(iter(below.children.values()))
        if below.sources[0] != source:
            raise self._collision(path, source, below.sources[0])
        if directory.sizes[place]:
            etag = directory.etags[place].decode()
            self._hide(HiddenFile(encode(path), source, directory.sizes[place], directory.mtimes[place], etag))

    def _hide(self, hidden: HiddenFile) -> None:
        self._hidden_count += 1
        if len(self._hidden) < MOST_HIDDEN:
            self._hidden.append(hidden)

    def _object(self, source: int, path: str) -> str:
        packed = self._packed[source]
        return f"{self._labels[packed.store]}/{packed.key}{path[len(packed.shown) :]}"

    def _collision(self, path: str, first: int, second: int) -> UsageError:
        return UsageError(
            f"{self._texts[first]} and {self._texts[second]} both show something at {path!r}; "
            "leave one out, or name a directory above both"
        )


def _expressible(name: bytes) -> bool:
    """Whether a directory entry can have this name."""
    return 0 < len(name) <= LONGEST_NAME and name not in (b".", b"..") and b"\0" not in name
