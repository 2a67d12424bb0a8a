"""What an interrupted download had finished: ranges of one large file, and files of one run.

Both journals are text files that only grow, one record per line, so that a record torn by a crash is the last one and
is left out. A journal counts only if its first line says that it is about the very same thing.

- `RangeJournal` lies beside the unfinished file. A record means that the bytes are in the page cache: enough after a
  killed process, not after a power failure. So each boot of the machine trusts its own records, and of another boot's
  only those that a `synced` record covers.
- `RunJournal` lies in the target directory while files that exist are being overwritten. Without it a run that is
  started again could not tell files it has fetched from files it has yet to replace.
"""

import contextlib
import os
import threading
from pathlib import Path

import msgspec

from mountd.transfer.descriptors import Descriptors


def journal_text(name: str) -> str:
    """Return `name` as text that JSON can carry, whatever bytes the name stands for."""
    return os.fsencode(name).decode("latin-1")


class PartIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The version of the object that a part file holds ranges of, and the part file itself."""

    store: str
    """Store and key as `journal_text`."""
    key: str
    etag: str
    size: int
    range_bytes: int
    inode: int


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    boot: str
    identity: PartIdentity


class RangeJournal:
    """Records finished ranges by their number. Blocking; safe to use from several threads."""

    def __init__(self, descriptor: int, recorded: int) -> None:
        self._descriptor = descriptor
        self._recorded = recorded
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: Path, identity: PartIdentity) -> "RangeJournal":
        """Start a journal, in place of an old one."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        head = _Head(format=1, boot=_boot_id(), identity=identity)
        os.write(descriptor, msgspec.json.encode(head) + b"\n")
        return cls(descriptor, 0)

    @classmethod
    def resume(cls, path: Path, identity: PartIdentity) -> "tuple[RangeJournal, set[int]] | None":
        """Return the journal to go on with and the finished ranges, or None if it is not about `identity`."""
        try:
            lines = path.read_bytes().split(b"\n")
            head = msgspec.json.decode(lines[0], type=_Head)
        except (OSError, msgspec.MsgspecError):
            return None
        if head.format != 1 or head.identity != identity:
            return None
        finished, synced = _parse(lines[1:-1], -(-identity.size // identity.range_bytes))
        if head.boot == _boot_id() and lines[-1] == b"":
            return cls(os.open(path, _APPEND), len(finished)), set(finished)
        kept = finished if head.boot == _boot_id() else finished[:synced]
        journal = cls.create(path, identity)
        for number in kept:
            journal.record(number)
        return journal, set(kept)

    @property
    def descriptor(self) -> int:
        """The open file; whoever made the journal closes it."""
        return self._descriptor

    def record(self, number: int) -> int:
        """Note that range `number` is written; return how many records there are now."""
        with self._lock:
            os.write(self._descriptor, b"r %d\n" % number)
            self._recorded += 1
            return self._recorded

    def record_synced(self, count: int) -> None:
        """Note that what the first `count` records tell of would survive a power failure."""
        os.write(self._descriptor, b"s %d\n" % count)


class RunEntry(msgspec.Struct, frozen=True, array_like=True):
    """A finished file: the object's version, and the local file as it was left."""

    relative: str
    """As `journal_text`."""
    etag: str
    size: int
    inode: int
    changed_ns: int
    """The file's `st_ctime_ns`: nobody has touched it since if that is the same."""


class RunJournal:
    """Records finished files. Blocking; safe to use from several threads."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        source = journal_text(source)
        self._known = _load_run(path, source)
        flags = _APPEND | os.O_CREAT | (0 if self._known else os.O_TRUNC)
        self._descriptor = os.open(path, flags, 0o600)
        self._guard = Descriptors(self._descriptor)
        # A line of its own, also after one that a crash tore.
        os.write(self._descriptor, b"\n" + msgspec.json.encode(source) + b"\n")

    def holds(self, relative: str, etag: str, size: int, found: os.stat_result) -> bool:
        """Return whether the file `found` is what an earlier run made of that version."""
        entry = self._known.get(journal_text(relative))
        return entry is not None and found.st_size == size and entry == _entry(relative, etag, found)

    def record(self, relative: str, etag: str, left: os.stat_result) -> None:
        """Note that `relative` is complete."""
        with self._guard:
            os.write(self._descriptor, msgspec.json.encode(_entry(relative, etag, left)) + b"\n")

    def remove(self) -> None:
        """The run is complete: there is nothing to go on with."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        self._guard.close()


_APPEND = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def _entry(relative: str, etag: str, found: os.stat_result) -> RunEntry:
    return RunEntry(journal_text(relative), etag, found.st_size, found.st_ino, found.st_ctime_ns)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _parse(lines: list[bytes], ranges: int) -> tuple[list[int], int]:
    """Return the finished ranges in the order of their records, and how many of those were synced."""
    finished: list[int] = []
    synced = 0
    for line in lines:
        kind, _, number = line.partition(b" ")
        if not number.isdigit():
            break
        if kind == b"r" and int(number) < ranges:
            finished.append(int(number))
        elif kind == b"s" and int(number) <= len(finished):
            synced = max(synced, int(number))
        else:
            break
    return finished, synced


def _load_run(path: Path, source: str) -> dict[str, RunEntry]:
    known: dict[str, RunEntry] = {}
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return known
    if lines[:2] != [b"", msgspec.json.encode(source)]:
        return known
    for line in lines[2:]:
        with contextlib.suppress(msgspec.MsgspecError):
            entry = msgspec.json.decode(line, type=RunEntry)
            known[entry.relative] = entry
    return known
