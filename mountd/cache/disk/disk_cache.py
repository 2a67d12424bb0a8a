"""The disk cache of one process, blocking: read, write, keep up, all in whole object versions' bytes.

What it promises: bytes that come out are those that went in for this version, or nothing comes out. The caller decides
in which threads it is called and what to do when the disk is in trouble (`OSError`); `reopen` then starts again with
what is left, or with nothing.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mountd.cache.disk import entry as entries
from mountd.cache.disk import files
from mountd.cache.disk.entry import Run
from mountd.cache.disk.files import Held
from mountd.cache.disk.index import Index
from mountd.cache.disk.layout import Layout, digest_of
from mountd.cache.disk.open_files import OpenFiles
from mountd.cache.disk.records import Grant, Need, Totals, Written
from mountd.cache.disk.room import CacheLimits
from mountd.cache.version import ObjectVersion
from mountd.observe.logs import get_logger
from mountd.units import ByteRange

_TOUCHED_AT_ONCE = 1000

log = get_logger("mountd.cache.disk")

Place = Callable[[str], tuple[str, str] | None]
"""What tells the store of a key from all others, and the object's key in it: the same from whichever mount; None: the
object is not cached."""

_Wrong = dict[int, list[str]]
"""What was wrong with which runs of which objects, by digest: for the log, in which a file has one line."""


class Piece(NamedTuple):
    """Bytes of a version to be kept."""

    version: ObjectVersion
    start: int
    data: memoryview
    pinned: bool = False


class DiskCache:
    """The cache in one directory, as one process sees it.

    Args:
        directory: is made if it is missing.
        place: says where the objects of versions lie.
        limits: what this process asks for.
        opened: False: nothing is here, and the directory is not touched, until `reopen`.

    Raises:
        MountdError: the directory cannot be used; from `reopen` too.
        OSError: the disk is in trouble; from every call that is not marked otherwise.
    """

    def __init__(self, directory: str | Path, place: Place, limits: CacheLimits, *, opened: bool = True) -> None:
        self.layout = Layout(directory)
        self._place = place
        self._limits = limits
        self.corrupt = 0
        """Runs whose bytes were not what was written."""
        self._evicted_before = 0
        self._touched: set[int] = set()
        # What a reader found wrong is put right before the next write: a reader waits for no lock.
        self._bad: list[tuple[int, Run | None]] = []
        self._unreleased: list[Grant] = []
        self.open_files = OpenFiles()
        self._was_opened = False
        self._index = self._open() if opened else Index(self.layout, limits, _boot_id(), opened=False)

    # ---- bytes

    def digest(self, version: ObjectVersion) -> int | None:
        """Return the number that a version has here; None: it is not to be cached; does not block."""
        place = self._place(version.key)
        return None if place is None else digest_of(*place, version)

    def find(self, version: ObjectVersion, wanted: ByteRange) -> Held | None:
        """Return where the bytes of `wanted` are, as far as this process knows; does not block."""
        digest = self.digest(version)
        runs = None if digest is None else self._index.cover(digest, *wanted)
        return None if digest is None or runs is None else Held(digest, self.layout.file(digest), runs, wanted)

    def holds(self, version: ObjectVersion, wanted: ByteRange) -> bool:
        """Whether the bytes of `wanted` are here, as far as this process knows; does not block."""
        return self.find(version, wanted) is not None

    def read(self, held: Held, descriptor: int | None = None) -> memoryview | None:
        """Return the bytes of `held.wanted`, through `descriptor` if it is given; None: they are not here any more."""
        try:
            data = files.read(held) if descriptor is None else files.read_from(descriptor, held)
        except FileNotFoundError:  # evicted meanwhile, or lost
            self._bad.append((held.digest, None))
            return None
        return self.check(held, data)

    def check(self, held: Held, data: memoryview) -> memoryview | None:
        """Return the bytes of `held.wanted` out of what was read; None: they are not what was written."""
        try:
            data = files.checked(held, data)
        except files.BadRunError as error:
            self._bad.append((held.digest, error.run))
            return None
        self._touched.add(held.digest)
        return data

    def write(self, pieces: Sequence[Piece]) -> bool:
        """Keep `pieces`; False: there is no room for them."""
        self._put_right()
        needs, kept = [], []
        for piece in pieces:
            version = piece.version
            digest = self.digest(version)
            part = files.storable(piece.start, piece.start + piece.data.nbytes, version.size)
            if part is not None and digest is not None:
                needs.append(Need(digest, version.size, *part, piece.pinned))
                kept.append(piece.data[part.start - piece.start : part.stop - piece.start])
        if not needs:
            return True
        grants = self._index.reserve(needs)
        if grants is None:
            return False
        try:
            self._index.commit(
                [self._write_one(grant, data) for grant, data in zip(grants, kept, strict=True) if grant.reserved]
            )
        except Exception:
            self._unreleased += grants
            with suppress(OSError):
                self._give_back()
            raise
        return True

    def gaps(self, version: ObjectVersion) -> list[ByteRange]:
        """Return what is missing of a version that is to be cached, as far as this process knows; does not block."""
        digest = self.digest(version)
        if digest is None:
            return []
        entry = self._index.entry(digest)
        if entry is None:
            return [ByteRange(0, version.size)] if version.size else []
        return entries.gaps(entry)

    def is_whole(self, digest: int) -> bool:
        """Whether all of a version is here, as far as this process knows; does not block."""
        entry = self._index.entry(digest)
        return entry is not None and entries.is_complete(entry)

    def opened(self, digest: int) -> None:
        """The file of this object is open for longer and stays; as often as `closed` is called; does not block."""
        if self.open_files.opened(digest):
            self._touched.add(digest)

    def closed(self, digest: int) -> None:
        """It need not stay any more: until now it was used; does not block."""
        if self.open_files.closed(digest):
            self._touched.add(digest)

    def pin(self, versions: Sequence[ObjectVersion]) -> None:
        """Keep what is here of `versions` until `clear`."""
        digests = [self.digest(version) for version in versions]
        self._index.pin([digest for digest in digests if digest is not None])

    def want(self, count: int, what: bytes, filling: bool) -> None:
        """Tell the other processes how many bytes of disk this one keeps filled, or is about to fill."""
        self._index.want(count, what, filling=filling)

    def is_brought_by_another(self, what: bytes) -> bool:
        """Whether a process that came earlier is bringing the same."""
        return self._index.is_brought_by_another(what)

    # ---- upkeep

    def maintain(self) -> None:
        """Restore ceiling and reserve, take back what the dead had reserved, learn what others did and tell them."""
        self._give_back()
        self._put_right()
        self._index.maintain()
        touched, self._touched = self._touched, set()
        if touched:
            self._index.touch(list(touched)[:_TOUCHED_AT_ONCE])

    def compare(self) -> None:
        """Compare files and index, if nobody did since the machine started; before, nothing is written."""
        removed = self._index.compare()
        if removed:
            log.info("files without an entry were removed from the disk cache", files=removed)

    def totals(self) -> Totals:
        """Return what the cache holds, of all stores."""
        return self._index.totals()

    @property
    def first_free(self) -> int:
        """Bytes that the disk had free when the cache was made, or later with nothing in it."""
        return self._index.first_free

    @property
    def evicted(self) -> int:
        """Objects that this process took away to make room."""
        return self._evicted_before + self._index.evicted

    def clear(self) -> int:
        """Take everything away, pinned or not; return how many objects."""
        return self._index.clear()

    def verify(self) -> Iterator[tuple[int, int]]:
        """Read everything and forget what is wrong; yields the bytes read and the bad runs of each object."""
        for digest in self._index.digests():
            entry = self._index.entry(digest)
            if entry is None:
                continue
            good, bad = 0, 0
            wrong: _Wrong = {}
            runs = entries.runs_of(entry)
            for run in runs:
                try:
                    good += self._read_run(digest, run)
                except FileNotFoundError:
                    bad += self._look_again(digest, None, wrong)
                    break
                except files.BadRunError:
                    bad += self._look_again(digest, run, wrong)
            _tell(wrong)
            yield good, bad

    def reopen(self) -> None:
        """Start again after trouble."""
        self._evicted_before = self.evicted
        self._index.abandon_process()
        self._unreleased.clear()
        self._index = self._open()

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
        if not self._was_opened:  # the directory may be somebody else's
            return
        with suppress(OSError):
            self.maintain()
        self._index.close()

    # ---- inside

    def _open(self) -> Index:
        self.layout.make()
        index = Index(self.layout, self._limits, _boot_id())
        index.open_files = self.open_files
        self.open_files.nobody_knows()
        self._was_opened = True
        return index

    def _write_one(self, grant: Grant, data: memoryview) -> Written:
        runs, disk = files.write(self.layout, grant.need.digest, grant.need.start, data)
        return Written(grant, runs, disk)

    def _give_back(self) -> None:
        if self._unreleased:
            self._index.abandon(self._unreleased)
            self._unreleased.clear()

    def _read_run(self, digest: int, run: Run) -> int:
        """Return how many bytes of a run are as they were written, which is all."""
        held = Held(digest, self.layout.file(digest), [run], ByteRange(run.start, run.stop))
        return files.checked(held, files.read(held)).nbytes

    def _look_again(self, digest: int, run: Run | None, wrong: _Wrong) -> int:
        """Forget what was found wrong, if it still is, and note it in `wrong`; return how many runs.

        Who found it knew an index that may have been old: the object was evicted, or its file is another's by now.
        """
        runs = self._index.runs(digest)
        if not runs or (run is not None and run not in runs):
            return 0
        try:
            self._read_run(digest, run or runs[0])
        except FileNotFoundError:
            self._index.drop(digest)
            return len(runs)
        except files.BadRunError as error:
            self.corrupt += 1
            wrong.setdefault(digest, []).append(str(error))
            self._index.forget_run(digest, error.run)
            return 1
        return 0

    def _put_right(self) -> None:
        bad, self._bad = self._bad, []
        wrong: _Wrong = {}
        try:
            while bad:
                digest, run = bad[-1]
                self._look_again(digest, run, wrong)
                bad.pop()
        except OSError:
            self._bad += bad
            raise
        finally:
            _tell(wrong)


def _tell(wrong: _Wrong) -> None:
    """Say what was wrong, in a line for each file."""
    for digest, reasons in wrong.items():
        others = {"others": len(reasons) - 1} if len(reasons) > 1 else {}
        log.warning(
            "cached bytes do not match their checksum and are fetched again",
            file=f"{digest:032x}",
            why=reasons[0],
            **others,
        )


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"
