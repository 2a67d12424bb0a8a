"""The sums that keep the cache within its bounds; every function runs inside a transaction that holds the write lock.

What counts against the ceiling: the blocks of all files, everything reserved for writes under way, directory entries,
and the index itself. What is reserved is granted before a byte is written and given back when the file was measured,
so the sum is never less than what the disk holds, in any process and at any moment. A dead process's reservations
are given back by whoever notices, after its files were measured.
"""

import os
import sqlite3
from typing import NamedTuple

from mountd.cache.disk import owner, schema
from mountd.cache.disk.layout import FAN_OUT, Layout
from mountd.cache.disk.room import CacheLimits, Space, measure, spared_inodes

ENTRY = 64
"""Bytes of a directory that one name takes."""
EVICTED_AT_ONCE = 256
"""Files taken away in one step: the write lock is held for that long."""


class Standing(NamedTuple):
    """How full the cache is, in bytes."""

    charged: int
    """Files, reservations, directories and index."""
    ceiling: int
    free: int
    """Of the disk, less what is reserved."""
    kept_free: int
    block: int
    free_inodes: int | None
    """None: without limit."""

    @property
    def most(self) -> int:
        """Bytes that the cache may take, by the ceiling and by what the disk has free."""
        return max(0, min(self.ceiling, self.charged + self.free - self.kept_free))

    @property
    def excess(self) -> int:
        """Bytes too many, by the ceiling or the reserve; negative: what still fits."""
        return max(self.charged - self.ceiling, self.kept_free - self.free)


class Accounts:
    """The sums of one cache directory, as seen by one process."""

    def __init__(self, layout: Layout, limits: CacheLimits) -> None:
        self._layout = layout
        self._limits = limits
        self.evicted = 0
        """Objects that this process took away to make room."""

    def standing(self, db: sqlite3.Connection) -> Standing:
        """Return how full the cache is now."""
        space = measure(self._layout.directory)
        disk, objects = db.execute("SELECT disk, objects FROM total").fetchone()
        ceiling, kept_free, reserved, inodes = db.execute(
            "SELECT MIN(ceiling), MAX(reserve), TOTAL(reserved), TOTAL(inodes) FROM owner"
        ).fetchone()
        overhead = schema.bytes_on_disk(self._layout.index, space.block) + (FAN_OUT + 8) * space.block
        spare = self._free_inodes(db, space, objects)
        return Standing(
            charged=disk + int(reserved) + objects * ENTRY + overhead,
            ceiling=ceiling,
            free=space.free - int(reserved),
            kept_free=kept_free,
            block=space.block,
            free_inodes=None if spare is None else spare - int(inodes),
        )

    def make_room(self, db: sqlite3.Connection, need: int, inodes: int) -> bool:
        """Evict until `need` bytes and `inodes` new files fit; False: they do not."""
        standing = self.standing(db)
        wanted = need + inodes * ENTRY
        limits = self._limits
        missing = standing.excess + wanted
        if standing.charged + wanted > standing.ceiling * limits.prune_threshold:
            missing = max(missing, standing.charged + wanted - int(standing.ceiling * limits.prune_target))
        files = 0 if standing.free_inodes is None else inodes - standing.free_inodes
        if missing > 0 or files > 0:
            self.evict(db, missing, files)
            standing = self.standing(db)
        fits = standing.excess + wanted <= 0
        return fits and (standing.free_inodes is None or inodes <= standing.free_inodes)

    def evict(self, db: sqlite3.Connection, missing: int, files: int = 0) -> int:
        """Take away the least recently used objects, `missing` bytes and `files` files of them; return the bytes."""
        victims = db.execute(
            "SELECT id, digest, disk FROM object WHERE pinned = 0 AND id NOT IN (SELECT object FROM pending) "
            "ORDER BY used LIMIT ?",
            (EVICTED_AT_ONCE,),
        ).fetchall()
        freed = 0
        for row, digest, disk in victims:
            if freed >= missing and files <= 0:
                break
            self.remove(db, row, digest)
            freed += disk + ENTRY
            files -= 1
            self.evicted += 1
        return freed

    def remove(self, db: sqlite3.Connection, row: int, digest: bytes) -> None:
        """Take one object away: first its file, then its row."""
        self._layout.file(row, digest).unlink(missing_ok=True)
        db.execute("DELETE FROM object WHERE id = ?", (row,))

    def settle(self, db: sqlite3.Connection, row: int, digest: bytes) -> None:
        """Charge an object whose write did not end well for what its file takes; nothing valid in it: take it away."""
        if db.execute("SELECT 1 FROM run WHERE object = ? LIMIT 1", (row,)).fetchone() is None:
            self.remove(db, row, digest)
            return
        taken = self.taken(row, digest)
        db.execute("UPDATE object SET disk = MAX(disk, ?) WHERE id = ?", (taken, row))

    def taken(self, row: int, digest: bytes) -> int:
        """Return the bytes of disk that an object's file takes now."""
        try:
            return os.stat(self._layout.file(row, digest)).st_blocks * 512
        except FileNotFoundError:
            return 0

    def dead_owners(self, db: sqlite3.Connection, own: int) -> list[tuple[int, str]]:
        """Return the processes that are gone and did not say goodbye."""
        others = db.execute("SELECT id, name FROM owner WHERE id != ?", (own,)).fetchall()
        return [(number, name) for number, name in others if not owner.is_alive(self._layout.owners, name)]

    def reclaim(self, db: sqlite3.Connection, number: int, name: str) -> None:
        """Give back what a dead process had reserved."""
        unfinished = db.execute(
            "SELECT object.id, digest FROM pending JOIN object ON object.id = pending.object WHERE owner = ?", (number,)
        ).fetchall()
        db.execute("DELETE FROM pending WHERE owner = ?", (number,))
        for row, digest in unfinished:
            if db.execute("SELECT 1 FROM pending WHERE object = ?", (row,)).fetchone() is None:
                self.settle(db, row, digest)
            else:  # somebody else is writing to it and will measure it, but may be killed too
                db.execute("UPDATE object SET disk = MAX(disk, ?) WHERE id = ?", (self.taken(row, digest), row))
        db.execute("DELETE FROM owner WHERE id = ?", (number,))
        owner.bury(self._layout.owners, name)

    def _free_inodes(self, db: sqlite3.Connection, space: Space, objects: int) -> int | None:
        if space.free_inodes is None:
            return None
        most = db.execute("SELECT value FROM state WHERE key = 'most_objects'").fetchone()[0]
        return int(min(space.free_inodes - spared_inodes(space), most - objects))
