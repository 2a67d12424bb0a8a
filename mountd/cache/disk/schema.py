"""The index: one SQLite database in WAL mode, shared by all processes that use the directory.

- A row of `object` exists before its file does and is deleted after it: a file without a row is an orphan.
- A row of `run` exists only once its bytes are in the file, with their checksum. Power may fail before the bytes reach
  the disk: then the checksum does not match, and the run is fetched again.
- `total` follows `object` by triggers: the accounting cannot be forgotten.
- `used` counts ticks of the index, not seconds: clocks jump.
"""

import os
import sqlite3
from pathlib import Path

VERSION = 1
"""An index of another version is thrown away, and its files with it."""
BUSY_S = 5.0
WAL_PAGES = 256
"""The write-ahead log is folded into the database from this many pages (of 4 KiB) on."""
PAGE_CACHE_KIB = 512
"""Per connection."""

TABLES = """
CREATE TABLE state (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE object (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  digest BLOB NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  disk INTEGER NOT NULL DEFAULT 0,
  used INTEGER NOT NULL,
  pinned INTEGER NOT NULL DEFAULT 0,
  complete INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX object_used ON object (pinned, used);
CREATE TABLE run (
  object INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (object, start, stop)
) WITHOUT ROWID;
CREATE TABLE owner (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  ceiling INTEGER NOT NULL,
  reserve INTEGER NOT NULL,
  reserved INTEGER NOT NULL DEFAULT 0,
  inodes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE pending (object INTEGER NOT NULL, owner INTEGER NOT NULL, PRIMARY KEY (object, owner)) WITHOUT ROWID;
CREATE TABLE total (
  disk INTEGER NOT NULL, objects INTEGER NOT NULL, complete INTEGER NOT NULL, pinned INTEGER NOT NULL
);
INSERT INTO total VALUES (0, 0, 0, 0);
CREATE TRIGGER object_added AFTER INSERT ON object BEGIN
  UPDATE total SET disk = disk + NEW.disk, objects = objects + 1, complete = complete + NEW.complete,
    pinned = pinned + NEW.pinned * NEW.disk;
END;
CREATE TRIGGER object_changed AFTER UPDATE OF disk, complete, pinned ON object BEGIN
  UPDATE total SET disk = disk + NEW.disk - OLD.disk, complete = complete + NEW.complete - OLD.complete,
    pinned = pinned + NEW.pinned * NEW.disk - OLD.pinned * OLD.disk;
END;
CREATE TRIGGER object_gone AFTER DELETE ON object BEGIN
  UPDATE total SET disk = disk - OLD.disk, objects = objects - 1, complete = complete - OLD.complete,
    pinned = pinned - OLD.pinned * OLD.disk;
  DELETE FROM run WHERE object = OLD.id;
  DELETE FROM pending WHERE object = OLD.id;
END;
"""


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection; transactions are begun by hand. Not to be used by two threads at once."""
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_PAGES * 4096}")
        db.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
    except BaseException:
        db.close()
        raise
    return db


def prepare(db: sqlite3.Connection, first_state: dict[str, int | str]) -> bool:
    """Make the tables where there are none; False: the index is of another version.

    Args:
        db: a new connection.
        first_state: what `state` holds at first.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in _statements():
                db.execute(statement)
            db.executemany("INSERT INTO state VALUES (?, ?)", list(first_state.items()))
            db.execute(f"PRAGMA user_version = {VERSION}")
            version = VERSION
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return bool(version == VERSION)


def check(path: Path) -> None:
    """Read the whole index.

    Raises:
        sqlite3.DatabaseError: it is broken.
    """
    db = connect(path)
    try:
        said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    finally:
        db.close()
    if said != "ok":
        raise sqlite3.DatabaseError(said)


def remove(path: Path) -> None:
    """Take the index away, so that the next one starts from nothing."""
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)


def bytes_on_disk(path: Path, block: int) -> int:
    """Return what the index may take: what it takes now, and the log at its longest."""
    counted = 0
    for name, least in ((path, 0), (f"{path}-wal", (WAL_PAGES + 64) * 4096), (f"{path}-shm", 8 * 4096)):
        try:
            counted += max(os.stat(name).st_blocks * 512, least)
        except FileNotFoundError:
            counted += least
    return counted + 8 * block


def _statements() -> list[str]:
    found, statement = [], ""
    for line in TABLES.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    return found
