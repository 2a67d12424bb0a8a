"""What is in the cache directory: lookups by any thread, changes one at a time.

All calls block. Readers have connections of their own and never wait for a writer. A change is one transaction that
holds the write lock of all processes; each checks first that the index is still the one in the directory, since a
broken one is replaced under everybody's feet.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mountd.cache.disk import schema
from mountd.cache.disk.accounts import Accounts
from mountd.cache.disk.layout import Layout
from mountd.cache.disk.owner import OwnerLock
from mountd.cache.disk.records import Found, Grant, Need, Run, Totals, Written, cover
from mountd.cache.disk.room import NO_CEILING, CacheLimits, Space, rounded
from mountd.units import ByteRange


class IndexReplacedError(sqlite3.DatabaseError):
    """The index in the directory is another one now: open it again."""


class Index:
    """The index of one directory, opened for one process.

    Raises:
        OSError, sqlite3.Error: from every call, when the disk or the index is in trouble.
    """

    def __init__(self, layout: Layout, limits: CacheLimits, space: Space, boot: str) -> None:
        self._layout = layout
        self._boot = boot
        self.accounts = Accounts(layout, limits)
        self._block = space.block
        self._writing = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._reading = threading.Lock()
        self._closed = False
        self._db = schema.connect(layout.index)
        try:
            first: dict[str, int | str] = {
                "tick": 0,
                "boot": "",
                "first_free": space.free,
                "most_objects": _most_objects(space),
            }
            if not schema.prepare(self._db, first):
                raise sqlite3.DatabaseError("the index is of another version of mountd")
            self._inode = os.stat(layout.index).st_ino
            self._owner = OwnerLock(layout.owners)
            first_free = self.first_free()
            with self._change() as db:
                self._number = db.execute(
                    "INSERT INTO owner (name, ceiling, reserve) VALUES (?, ?, ?) RETURNING id",
                    (self._owner.name, limits.ceiling(first_free), limits.kept_free()),
                ).fetchone()[0]
        except BaseException:
            self._db.close()
            if hasattr(self, "_owner"):
                self._owner.close()
            raise

    # ---- looking

    def lookup(self, digest: bytes, start: int, stop: int) -> Found | None:
        """Return where the bytes [start, stop) are; None if any is missing."""
        with self._reader() as db:
            rows = db.execute(
                "SELECT object.id, run.start, run.stop, run.crc FROM object JOIN run ON run.object = object.id "
                "WHERE digest = ? AND run.start < ? AND run.stop > ? ORDER BY run.start",
                (digest, stop, start),
            ).fetchall()
        if not rows:
            return None
        runs = cover([Run(*row[1:]) for row in rows], start, stop)
        return None if runs is None else Found(rows[0][0], runs)

    def gaps(self, digest: bytes, size: int) -> list[ByteRange]:
        """Return what is missing of an object of `size` bytes."""
        with self._reader() as db:
            rows = db.execute(
                "SELECT run.start, run.stop FROM object JOIN run ON run.object = object.id WHERE digest = ? "
                "ORDER BY run.start",
                (digest,),
            ).fetchall()
        position, missing = 0, []
        for start, stop in rows:
            if start > position:
                missing.append(ByteRange(position, start))
            position = max(position, stop)
        if position < size:
            missing.append(ByteRange(position, size))
        return missing

    def digests(self, after: int) -> list[tuple[int, bytes]]:
        """Return row and digest of every object whose row is above `after`."""
        with self._reader() as db:
            return db.execute("SELECT id, digest FROM object WHERE id > ? ORDER BY id", (after,)).fetchall()

    def objects(self, after: int, limit: int) -> list[tuple[int, bytes, list[Run]]]:
        """Return up to `limit` objects from row `after` on, with what is here of them."""
        with self._reader() as db:
            rows = db.execute(
                "SELECT id, digest FROM object WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
            ).fetchall()
            query = "SELECT start, stop, crc FROM run WHERE object = ? ORDER BY start"
            return [(row, digest, [Run(*run) for run in db.execute(query, (row,))]) for row, digest in rows]

    def totals(self) -> Totals:
        """Return what the cache holds and how full it is."""
        with self._reader() as db:
            db.execute("BEGIN")  # all numbers of one moment
            try:
                disk, objects, complete, pinned = db.execute(
                    "SELECT disk, objects, complete, pinned FROM total"
                ).fetchone()
                owners = db.execute("SELECT COUNT(*) FROM owner").fetchone()[0]
                return Totals(disk, objects, complete, pinned, owners, self.accounts.standing(db))
            finally:
                db.execute("COMMIT")

    def first_free(self) -> int:
        """Return the bytes that the disk had free when the index was made."""
        with self._reader() as db:
            return int(db.execute("SELECT value FROM state WHERE key = 'first_free'").fetchone()[0])

    # ---- writing

    def reserve(self, needs: Iterable[Need]) -> list[Grant] | None:
        """Make room for `needs`; None: there is none. Pair with `commit` or `abandon` of every grant."""
        with self._change() as db:
            planned: list[tuple[Need, int | None, int]] = []
            bytes_needed = 0
            new: set[bytes] = set()
            for need in needs:
                row, there = self._state_of(db, need)
                cost = 0 if there else rounded(need.stop - need.start, self._block) + self._block
                bytes_needed += cost
                if row is None:
                    new.add(need.digest)
                planned.append((need, row, cost))
            if bytes_needed and not self.accounts.make_room(db, bytes_needed, len(new)):
                return None
            tick = self._tick(db)
            grants = []
            for need, _, cost in planned:
                # Looked up again: making room may have taken the row away.
                row, _ = self._state_of(db, need)
                if row is None:
                    row = db.execute(
                        "INSERT INTO object (digest, size, used, pinned) VALUES (?, ?, ?, ?) RETURNING id",
                        (need.digest, need.size, tick, need.pinned),
                    ).fetchone()[0]
                elif need.pinned:
                    db.execute("UPDATE object SET pinned = 1 WHERE id = ?", (row,))
                if cost:
                    db.execute("INSERT OR IGNORE INTO pending VALUES (?, ?)", (row, self._number))
                grants.append(Grant(row, need, cost, bool(cost) and need.digest in new))
                if cost:
                    new.discard(need.digest)
            self._add_reserved(db, bytes_needed, sum(grant.new for grant in grants))
        return grants

    def commit(self, written: Iterable[Written]) -> None:
        """Say that bytes are in their files; from now on they are found."""
        with self._change() as db:
            tick = self._tick(db)
            gone: list[Grant] = []
            for grant, runs, disk in written:
                if not grant.reserved:
                    continue
                self._release(db, grant)
                changed = db.execute(
                    "UPDATE object SET disk = MAX(disk, ?), used = ? WHERE id = ?", (disk, tick, grant.row)
                )
                if changed.rowcount == 0:
                    gone.append(grant)
                    continue
                for run in runs:
                    db.execute(
                        "DELETE FROM run WHERE object = ? AND start >= ? AND stop <= ?",
                        (grant.row, run.start, run.stop),
                    )
                    db.execute("INSERT INTO run VALUES (?, ?, ?, ?)", (grant.row, *run))
                if disk >= grant.need.size and self._is_whole(db, grant.row, grant.need.size):
                    db.execute("UPDATE object SET complete = 1 WHERE id = ?", (grant.row,))
        for grant in gone:
            self._layout.file(grant.row, grant.need.digest).unlink(missing_ok=True)

    def abandon(self, grants: Iterable[Grant]) -> None:
        """Give back room whose write failed."""
        with self._change() as db:
            for grant in grants:
                if grant.reserved:
                    self._release(db, grant)
                    self.accounts.settle(db, grant.row, grant.need.digest)

    def touch(self, rows: Iterable[int]) -> None:
        """Say that objects were used."""
        with self._change() as db:
            tick = self._tick(db)
            db.executemany("UPDATE object SET used = ? WHERE id = ?", [(tick, row) for row in rows])

    def pin(self, digests: Iterable[bytes]) -> None:
        """Keep objects whatever room is needed for."""
        with self._change() as db:
            db.executemany("UPDATE object SET pinned = 1 WHERE digest = ?", [(digest,) for digest in digests])

    def drop_run(self, row: int, run: Run) -> None:
        """Forget a run whose bytes are not what was written."""
        with self._change() as db:
            db.execute("DELETE FROM run WHERE object = ? AND start = ? AND stop = ?", (row, run.start, run.stop))
            db.execute("UPDATE object SET complete = 0 WHERE id = ?", (row,))

    def drop_object(self, row: int, digest: bytes) -> None:
        """Take an object away."""
        with self._change() as db:
            self.accounts.remove(db, row, digest)

    def clear(self) -> int:
        """Take everything away that nobody writes to, pinned or not; return how many objects."""
        removed = 0
        while True:
            with self._change() as db:
                rows = db.execute(
                    "SELECT id, digest FROM object WHERE id NOT IN (SELECT object FROM pending) LIMIT 256"
                ).fetchall()
                for row, digest in rows:
                    self.accounts.remove(db, row, digest)
            removed += len(rows)
            if not rows:
                return removed

    # ---- upkeep

    def maintain(self) -> None:
        """Take back what dead processes had reserved, and restore ceiling and reserve if they are broken."""
        with self._reader() as db:
            dead = self.accounts.dead_owners(db, self._number)
            excess = self.accounts.standing(db).excess
        if not dead and excess <= 0:
            return
        with self._change() as db:
            for number, name in self.accounts.dead_owners(db, self._number):
                self.accounts.reclaim(db, number, name)
            missing = self.accounts.standing(db).excess
            if missing > 0:
                self.accounts.evict(db, missing)

    def is_swept(self) -> bool:
        """Whether files and rows were compared since the machine started."""
        with self._reader() as db:
            return bool(db.execute("SELECT value FROM state WHERE key = 'boot'").fetchone()[0] == self._boot)

    def say_swept(self) -> None:
        """Remember that files and rows were compared."""
        with self._change() as db:
            db.execute("UPDATE state SET value = ? WHERE key = 'boot'", (self._boot,))

    def known_rows(self, rows: list[int]) -> set[int]:
        """Return those of `rows` that there are."""
        with self._reader() as db:
            query = "SELECT 1 FROM object WHERE id = ?"
            return {row for row in rows if db.execute(query, (row,)).fetchone() is not None}

    def charge(self, measured: Iterable[tuple[int, int]]) -> None:
        """Correct what objects are charged for: pairs of row and bytes of disk."""
        with self._change() as db:
            query = "UPDATE object SET disk = ? WHERE id = ? AND disk < ?"
            db.executemany(query, [(disk, row, disk) for row, disk in measured])

    def close(self) -> None:
        """Say goodbye and close every connection."""
        try:
            with self._change() as db:
                db.execute("DELETE FROM pending WHERE owner = ?", (self._number,))
                db.execute("DELETE FROM owner WHERE id = ?", (self._number,))
        except (OSError, sqlite3.Error):
            pass  # the next process finds the lock free and does it
        self._close_connections()
        self._owner.close()

    def abandon_process(self) -> None:
        """Leave everything as a killed process does; for what comes back to the same directory with a new index."""
        self._close_connections()
        self._owner.abandon()

    # ---- inside

    def _close_connections(self) -> None:
        with self._reading:
            self._closed = True
            readers, self._readers = self._readers, []
        for reader in readers:
            reader.close()
        with self._writing:
            self._db.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._writing:
            if os.stat(self._layout.index).st_ino != self._inode:
                raise IndexReplacedError("the index was replaced by another process")
            db = self._db
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        with self._reading:
            if self._closed:
                raise sqlite3.ProgrammingError("the index is closed")
            db = self._readers.pop() if self._readers else None
        if db is None:
            db = schema.connect(self._layout.index)
        try:
            yield db
        except BaseException:
            db.close()
            raise
        self._put_back(db)

    def _put_back(self, db: sqlite3.Connection) -> None:
        with self._reading:
            if not self._closed:
                self._readers.append(db)
                return
        db.close()

    def _state_of(self, db: sqlite3.Connection, need: Need) -> tuple[int | None, bool]:
        """Return the object's row, if it has one, and whether the bytes are here."""
        found = db.execute("SELECT id FROM object WHERE digest = ?", (need.digest,)).fetchone()
        if found is None:
            return None, False
        rows = db.execute(
            "SELECT start, stop, crc FROM run WHERE object = ? AND start < ? AND stop > ? ORDER BY start",
            (found[0], need.stop, need.start),
        ).fetchall()
        return found[0], cover([Run(*row) for row in rows], need.start, need.stop) is not None

    def _is_whole(self, db: sqlite3.Connection, row: int, size: int) -> bool:
        position = 0
        for start, stop in db.execute("SELECT start, stop FROM run WHERE object = ? ORDER BY start", (row,)):
            if start > position:
                return False
            position = max(position, stop)
        return position >= size

    def _release(self, db: sqlite3.Connection, grant: Grant) -> None:
        db.execute("DELETE FROM pending WHERE object = ? AND owner = ?", (grant.row, self._number))
        self._add_reserved(db, -grant.reserved, -int(grant.new))

    def _add_reserved(self, db: sqlite3.Connection, count: int, inodes: int) -> None:
        db.execute(
            "UPDATE owner SET reserved = reserved + ?, inodes = inodes + ? WHERE id = ?", (count, inodes, self._number)
        )

    @staticmethod
    def _tick(db: sqlite3.Connection) -> int:
        found = db.execute("UPDATE state SET value = value + 1 WHERE key = 'tick' RETURNING value").fetchone()
        return int(found[0])


def _most_objects(space: Space) -> int:
    return NO_CEILING if space.free_inodes is None else space.free_inodes * 8 // 10
