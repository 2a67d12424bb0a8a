"""The local files that an upload takes: a directory walked in the order of its names, or one file.

Blocking. Hidden files are taken; symbolic links are followed, files and directories alike, except into a directory that
the walk is inside of already. Empty directories hold nothing to upload. What cannot be taken comes out as a problem.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mountd.transfer.local_errors import local_reason
from mountd.transfer.plan import RUN_JOURNAL_NAME, is_own_name
from mountd.transfer.report import Problem


class LocalFile(NamedTuple):
    """A regular file."""

    path: str
    relative: str
    """Its name below the target: segments joined with slashes."""
    size: int
    """Bytes, at the time of the walk."""


class LeftOut(NamedTuple):
    """Something that is no data of the user's, or the target itself."""

    path: str


Found = LocalFile | LeftOut | Problem
_Identity = tuple[int, int]


class _Level(NamedTuple):
    """A directory that is being walked."""

    entries: Iterator[os.DirEntry[str]]
    prefix: str
    above: tuple[_Identity, ...]
    """The directories that this one lies in, itself included."""


def walk(source: Path, *, leave_out: Path | None) -> Iterator[Found]:
    """Yield everything below the directory `source`.

    Args:
        source: the directory.
        leave_out: a directory that is not entered: the one that is written to, if it is on this node.
    """
    excluded = _identity_or_none(leave_out)
    first = _enter(os.fspath(source), "", (), excluded)
    levels = [first] if isinstance(first, _Level) else []
    if first is not None and not isinstance(first, _Level):
        yield first
    while levels:
        level = levels[-1]
        entry = next(level.entries, None)
        if entry is None:
            levels.pop()
            continue
        found = _look(entry, level.prefix)
        if found is None:  # a directory
            inner = _enter(entry.path, f"{level.prefix}{entry.name}/", level.above, excluded)
            if isinstance(inner, _Level):
                levels.append(inner)
            elif inner is not None:
                yield inner
        else:
            yield found


def _identity_or_none(path: Path | None) -> _Identity | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _enter(
    directory: str, prefix: str, above: tuple[_Identity, ...], excluded: _Identity | None
) -> _Level | LeftOut | Problem | None:
    """Return the directory to walk, or what is to be said of it; None if it is being walked already."""
    try:
        here = os.stat(directory)
        identity = here.st_dev, here.st_ino
        if identity == excluded:
            return LeftOut(directory)
        if identity in above:
            return None  # a link back up
        with os.scandir(directory) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        return Problem(name=directory, reason=local_reason(error))
    return _Level(iter(entries), prefix, (*above, identity))


def _look(entry: os.DirEntry[str], prefix: str) -> Found | None:
    """Return what `entry` is for the upload; None is a directory."""
    try:
        found = entry.stat()
    except FileNotFoundError:
        return Problem(name=entry.path, reason="it is a symbolic link that leads nowhere, or was deleted just now")
    except OSError as error:
        return Problem(name=entry.path, reason=local_reason(error))
    relative = prefix + entry.name
    if stat.S_ISDIR(found.st_mode):
        return None
    if is_own_name(entry.name) or relative == RUN_JOURNAL_NAME:
        return LeftOut(entry.path)
    if not stat.S_ISREG(found.st_mode):
        return Problem(name=entry.path, reason="it is not a regular file")
    try:
        relative.encode("utf-8")
    except UnicodeEncodeError:
        return Problem(name=entry.path, reason="its name is not valid UTF-8; rename it")
    return LocalFile(entry.path, relative, found.st_size)
