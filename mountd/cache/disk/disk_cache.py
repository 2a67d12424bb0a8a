"""The disk cache of one process, blocking: read, write, keep up, all in whole object versions' bytes.

What it promises: bytes that come out are those that went in for this version, or nothing comes out. The caller decides
in which threads it is called and what to do when the disk is in trouble (`OSError`, `sqlite3.Error`); `reopen` then
starts again with what is left, or with nothing.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mountd.cache.disk import files, schema
from mountd.cache.disk.index import Index
from mountd.cache.disk.layout import FAN_OUT, Layout, digest_of, row_of
from mountd.cache.disk.records import Found, Grant, Need, Run, Totals, Written
from mountd.cache.disk.room import CacheLimits, measure
from mountd.cache.version import ObjectVersion
from mountd.observe.logs import get_logger
from mountd.units import ByteRange

_TOUCHED_AT_ONCE = 1000

log = get_logger("mountd.cache.disk")


class Piece(NamedTuple):
    """Bytes of a version to be kept."""

    version: ObjectVersion
    start: int
    data: memoryview
    pinned: bool = False


class DiskCache:
    """The cache in one directory, for the objects of one store whose keys are `prefix` and what versions say.

    Raises:
        MountdError: the directory cannot be used.
        OSError, sqlite3.Error: the disk is in trouble.
    """

    def __init__(self, directory: str | Path, store: str, limits: CacheLimits, *, prefix: str = "") -> None:
        self.layout = Layout(directory)
        self._store = store
        self._prefix = prefix
        self._limits = limits
        self.corrupt = 0
        """Runs whose bytes were not what was written."""
        self._evicted_before = 0
        self._touched: set[int] = set()
        # What a reader found wrong is put right before the next write: a reader waits for no lock.
        self._bad: list[tuple[bytes, Found, Run | None]] = []
        self._index = self._open(suspect=False)

    # ---- bytes

    def digest(self, version: ObjectVersion) -> bytes:
        """Return what `version` is known by."""
        return digest_of(self._store, self._prefix + version.key, version)

    def read(self, version: ObjectVersion, wanted: ByteRange) -> memoryview | None:
        """Return the bytes of `wanted`; None: not all of them are here."""
        digest = self.digest(version)
        found = self._index.lookup(digest, *wanted)
        if found is None:
            return None
        try:
            data = files.read(self.layout, digest, found, wanted)
        except FileNotFoundError:  # evicted meanwhile, or lost
            self._bad.append((digest, found, None))
            return None
        except files.BadRunError as error:
            self._note(digest, found, error)
            return None
        self._touched.add(found.row)
        return data

    def write(self, pieces: Sequence[Piece]) -> bool:
        """Keep `pieces`; False: there is no room for them."""
        self._put_right()
        needs, kept = [], []
        for piece in pieces:
            version = piece.version
            part = files.storable(piece.start, piece.start + piece.data.nbytes, version.size)
            if part is not None:
                needs.append(Need(self.digest(version), version.size, *part, piece.pinned))
                kept.append(piece.data[part.start - piece.start : part.stop - piece.start])
        if not needs:
            return True
        grants = self._index.reserve(needs)
        if grants is None:
            return False
        written: list[Written] = []
        try:
            for grant, data in zip(grants, kept, strict=True):
                if grant.reserved:
                    written.append(self._write_one(grant, data))
            self._index.commit(written)
        except Exception:
            with suppress(OSError, sqlite3.Error):  # what is left is reclaimed when this process has ended
                self._index.abandon(grants)
            raise
        return True

    def gaps(self, version: ObjectVersion) -> list[ByteRange]:
        """Return what is missing of a version."""
        return self._index.gaps(self.digest(version), version.size)

    def digests(self, after: int) -> list[tuple[int, bytes]]:
        """Return row and digest of what came in after row `after`, by row."""
        return self._index.digests(after)

    def pin(self, versions: Sequence[ObjectVersion]) -> None:
        """Keep what is here of `versions` until `clear`."""
        self._index.pin([self.digest(version) for version in versions])

    # ---- upkeep

    def maintain(self) -> None:
        """Restore ceiling and reserve, take back what the dead had reserved, remember what was read."""
        self._put_right()
        self._index.maintain()
        touched, self._touched = self._touched, set()
        if touched:
            self._index.touch(list(touched)[:_TOUCHED_AT_ONCE])

    def sweep(self) -> None:
        """Compare files and rows, if nobody did since the machine started: power may have failed between the two."""
        if self._index.is_swept():
            return
        removed = 0
        for number in range(FAN_OUT):
            removed += self._sweep_fan(number)
        self._index.say_swept()
        if removed:
            log.info("files without an entry were removed from the disk cache", files=removed)

    def totals(self) -> Totals:
        """Return what the cache holds, of all stores."""
        return self._index.totals()

    def first_free(self) -> int:
        """Return the bytes that the disk had free when the cache was made."""
        return self._index.first_free()

    @property
    def evicted(self) -> int:
        """Objects that this process took away to make room."""
        return self._evicted_before + self._index.accounts.evicted

    def clear(self) -> int:
        """Take everything away, pinned or not; return how many objects."""
        return self._index.clear()

    def verify(self) -> Iterator[tuple[int, int]]:
        """Read everything and forget what is wrong; yields the bytes read and the bad runs of each object."""
        after = 0
        while batch := self._index.objects(after, 256):
            for row, digest, runs in batch:
                after = row
                good, bad = 0, 0
                for run in runs:
                    found = Found(row, [run])
                    try:
                        good += files.read(self.layout, digest, found, ByteRange(run.start, run.stop)).nbytes
                    except FileNotFoundError:
                        self._index.drop_object(row, digest)
                        bad += len(runs)
                        break
                    except files.BadRunError as error:
                        self._note(digest, found, error)
                        bad += 1
                self._put_right()
                yield good, bad

    def reopen(self) -> None:
        """Start again after trouble."""
        self._evicted_before = self.evicted
        self._index.abandon_process()
        self._index = self._open(suspect=True)

    def probe(self) -> None:
        """Write and read a little, to see whether the disk is well."""
        path = self.layout.owners / f"probe-{os.getpid()}"
        try:
            path.write_bytes(bytes(4096))
            path.read_bytes()
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Say goodbye."""
        with suppress(OSError, sqlite3.Error):
            self.maintain()
        self._index.close()

    # ---- inside

    def _write_one(self, grant: Grant, data: memoryview) -> Written:
        runs, disk = files.write(self.layout, grant.row, grant.need.digest, grant.need.start, data)
        return Written(grant, runs, disk)

    def _note(self, digest: bytes, found: Found, error: files.BadRunError) -> None:
        self.corrupt += 1
        name = self.layout.file(found.row, digest).name
        log.warning("cached bytes do not match their checksum and are fetched again", file=name, why=str(error))
        self._bad.append((digest, found, error.run))

    def _put_right(self) -> None:
        while self._bad:
            digest, found, run = self._bad[-1]
            if run is None:
                self._index.drop_object(found.row, digest)
            else:
                self._index.drop_run(found.row, run)
            self._bad.pop()

    def _open(self, *, suspect: bool) -> Index:
        self.layout.make()
        space = measure(self.layout.directory)
        with self._locked():
            try:
                self.layout.index.touch(mode=0o600)  # SQLite gives its own mode to what it makes, and ours to the rest
                if suspect:
                    schema.check(self.layout.index)
                return Index(self.layout, self._limits, space, _boot_id())
            except sqlite3.OperationalError:
                raise  # the disk, not the index
            except sqlite3.DatabaseError as error:
                log.warning("the index of the disk cache cannot be read, the cache starts from nothing", why=str(error))
                schema.remove(self.layout.index)
                return Index(self.layout, self._limits, space, _boot_id())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.layout.lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _sweep_fan(self, number: int) -> int:
        directory = self.layout.fan(number)
        try:
            # Names first, rows after: a row is there before its file is.
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(directory)}
        except FileNotFoundError:
            return 0
        rows = {name: row_of(name) for name in found}
        known = self._index.known_rows([row for row in rows.values() if row is not None])
        charged, removed = [], 0
        for name, row in rows.items():
            if row in known and row is not None:
                charged.append((row, found[name].st_blocks * 512))
            else:
                (directory / name).unlink(missing_ok=True)
                removed += 1
        self._index.charge(charged)
        return removed


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"
