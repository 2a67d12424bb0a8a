"""Listings of a local directory tree in pages, in the order of a flat store.

Entries come sorted as `name` for a file and `name/` for a directory, so that a walk yields keys in one order and can go
on after any of them. The rest of a listing stays at hand between pages; when it was dropped meanwhile, the directories
are scanned again and what was listed is skipped.

Shown are regular files and directories, symbolic links to them included. Hidden are dangling links, links in a circle,
links to a directory that they lie in, devices, sockets, pipes and files of unfinished uploads.
"""

import errno
import itertools
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from mountd.stores.local_names import UPLOAD_PREFIX

GONE = (FileNotFoundError, NotADirectoryError)
"""What becomes of a name that is removed while a listing runs."""
_LEADS_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM}
"""Dangling, in a circle, too deep, or not ours to read. Anything else fails: a listing is whole or it is none."""
_KEPT_LISTINGS = 8
_KEPT_S = 60.0


class Entry(NamedTuple):
    """A name below the listed directory."""

    name: bytes
    """Relative to the listed directory; a directory's ends in a slash."""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.name.endswith(b"/")


Identity = tuple[int, int]
"""Device and inode number."""


def identity(path: bytes) -> Identity:
    """Return what `path` leads to."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def lineage(root: bytes, path: bytes) -> list[Identity] | None:
    """Return the directories from `root` down to `path`, or None if the path runs in a circle.

    Raises:
        OSError: a directory of the path cannot be looked at.
    """
    seen: list[Identity] = []
    for end in _ends(root, path):
        here = identity(path[:end])
        if here in seen:
            return None
        seen.append(here)
    return seen


def _ends(root: bytes, path: bytes) -> Iterator[int]:
    yield len(root)
    if path != root:
        yield from (index for index in range(len(root) + 1, len(path)) if path[index : index + 1] == b"/")
        yield len(path)


def children(path: bytes, above: list[Identity], after: bytes = b"") -> Iterator[Entry]:
    """Yield the entries of the directory `path` beyond `after`; `above` is the lineage of `path`."""
    for name in _scan(path, above):
        if name > after:
            yield Entry(name)


def descendants(path: bytes, above: list[Identity], after: bytes = b"") -> Iterator[Entry]:
    """Yield everything below the directory `path` beyond `after`, directories before what lies in them."""
    pending = [(b"", iter(_scan(path, above)), above)]
    while pending:
        prefix, names, lineage_here = pending[-1]
        name = next(names, None)
        if name is None:
            pending.pop()
            continue
        full = prefix + name
        is_directory = name.endswith(b"/")
        if full > after:
            yield Entry(full)
        elif not (is_directory and after.startswith(full)):
            continue
        if is_directory:
            below = path + b"/" + full[:-1]
            try:
                deeper = [*lineage_here, identity(below)]
                pending.append((full, iter(_scan(below, deeper)), deeper))
            except OSError as error:
                if error.errno not in _LEADS_NOWHERE - {errno.EACCES, errno.EPERM}:
                    raise


def _scan(path: bytes, above: list[Identity]) -> list[bytes]:
    names: list[bytes] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(UPLOAD_PREFIX):
                continue
            if entry.is_symlink():
                names.extend(_followed(entry, above))
            elif entry.is_dir(follow_symlinks=False):
                names.append(entry.name + b"/")
            elif entry.is_file(follow_symlinks=False):
                names.append(entry.name)
    names.sort()
    return names


def _followed(entry: "os.DirEntry[bytes]", above: list[Identity]) -> Iterator[bytes]:
    try:
        status = os.stat(entry.path)
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            return
        raise
    if stat.S_ISDIR(status.st_mode):
        if (status.st_dev, status.st_ino) not in above:
            yield entry.name + b"/"
    elif stat.S_ISREG(status.st_mode):
        yield entry.name


class Rests:
    """What is left of a few listings whose next page may be asked for soon. Used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._rests: OrderedDict[str, tuple[Iterator[Entry], float]] = OrderedDict()

    def keep(self, rest: Iterator[Entry] | None, last: bytes) -> str:
        """Return a marker for what follows the entry `last`, and remember `rest` for it if there is one."""
        now = time.monotonic()
        with self._lock:
            number = str(next(self._numbers))
            if rest is not None:
                self._rests[number] = (rest, now)
            while len(self._rests) > _KEPT_LISTINGS or any(kept < now - _KEPT_S for _, kept in self._rests.values()):
                self._rests.popitem(last=False)
        return f"{number}:{last.hex()}"

    def take(self, marker: str) -> tuple[Iterator[Entry] | None, bytes]:
        """Return what is left behind `marker`, once, or None, and the last entry that was listed."""
        number, _, last = marker.partition(":")
        with self._lock:
            rest, _ = self._rests.pop(number, (None, 0.0))
        return rest, bytes.fromhex(last)
