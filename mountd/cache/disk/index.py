"""What is in the cache directory, shared by all processes that use it: each has a copy in memory, fed by the journal.

- A look-up reads that copy: no lock, no file. It may be as old as the last upkeep: then a file is missing, or bytes are
  fetched that another process has, no harm done.
- A change is made under the lock of the directory, on a copy that is brought up to date first. Changes of one process
  are made one at a time.
- Files go before the journal says so, and are made after. So whatever dies in between leaves either an object that is
  charged for its file, or no file.
- An index that was lost, broken, or replaced under everybody's feet is read again, and compared with the files before
  anything is written.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from mountd.cache.disk import accounts, owner
from mountd.cache.disk import entry as entries
from mountd.cache.disk.changes import (
    AnyChange,
    Compared,
    Drop,
    Forget,
    Hold,
    Join,
    Keep,
    Leave,
    Measure,
    Pin,
    Release,
    Use,
    Want,
)
from mountd.cache.disk.entry import Run
from mountd.cache.disk.journal import Journal
from mountd.cache.disk.layout import Layout, remove
from mountd.cache.disk.lock import DirectoryLock
from mountd.cache.disk.open_files import OpenFiles
from mountd.cache.disk.owner import OwnerLock
from mountd.cache.disk.records import Grant, Need, Totals, Written
from mountd.cache.disk.room import CacheLimits, Space, measure, rounded
from mountd.cache.disk.state import State, to_bytes
from mountd.units import KIB

SAID_AT_ONCE = 5000
REMOVED_AT_ONCE = 256
"""Files between two notes in the journal."""
LEAST_REWRITTEN = 128 * KIB
"""A journal is rewritten once it is twice as long as what it adds up to, and longer than this."""


class Index:
    """The index of one directory, for one process.

    Args:
        layout: of the directory.
        limits: what this process asks for.
        boot: the start of the machine.
        opened: False: it knows of nothing, and touches nothing.

    Raises:
        OSError: from every call, when the disk is in trouble.
    """

    def __init__(self, layout: Layout, limits: CacheLimits, boot: str, *, opened: bool = True) -> None:
        self._layout = layout
        self._limits = limits
        self._boot = boot
        self._mutex = threading.Lock()
        self._lock = DirectoryLock(layout.lock)
        self._journal = Journal(layout.journal)
        self._shortest = 0
        """How long the journal was when it was last rewritten, or read from its start."""
        self._state = State()
        self._number = 0
        self._owner: OwnerLock | None = None
        self.evicted = 0
        """Objects that this process took away to make room."""
        self.open_files = OpenFiles()
        if opened:
            self._open()

    # ---- looking: any thread, no waiting

    def entry(self, digest: int) -> bytes | None:
        """Return what is known of an object; None: nothing of it is here."""
        return self._state.objects.get(digest)

    def cover(self, digest: int, start: int, stop: int) -> list[Run] | None:
        """Return runs that cover the bytes [start, stop); None if any is missing."""
        entry = self._state.objects.get(digest)
        return None if entry is None else entries.cover(entry, start, stop)

    def is_compared(self) -> bool:
        """Whether files and index were compared since the machine started; before, nothing is written."""
        return self._state.boot == self._boot

    def digests(self) -> list[int]:
        """Return all objects."""
        return list(self._state.objects)

    def runs(self, digest: int) -> list[Run]:
        """Return all runs of an object, with what everybody did known."""
        with self._changing():
            entry = self._state.objects.get(digest)
            return [] if entry is None else entries.runs_of(entry)

    @property
    def first_free(self) -> int:
        """Bytes that the disk had free when the index was made, or later with nothing in it."""
        return self._state.first_free

    def is_brought_by_another(self, what: bytes) -> bool:
        """Whether a process that came earlier is bringing the same."""
        with self._changing():
            return any(
                one.filling and one.what == what for number, one in self._state.owners.items() if number < self._number
            )

    # ---- writing

    def reserve(self, needs: Iterable[Need]) -> list[Grant] | None:
        """Make room for `needs`; None: there is none. Pair with `commit` or `abandon` of every grant."""
        with self._changing():
            if not self.is_compared():
                return None
            block = self._space().block
            planned = []
            fresh: set[int] = set()
            for need in needs:
                there = self.cover(need.digest, need.start, need.stop) is not None
                cost = 0 if there else rounded(need.stop - need.start, block) + block
                is_new = bool(cost) and need.digest not in fresh and need.digest not in self._state.objects
                if is_new:
                    fresh.add(need.digest)
                planned.append((need, cost, is_new))
            spared = {need.digest for need, _, _ in planned}
            if not self._make_room(sum(cost for _, cost, _ in planned), len(fresh), spared):
                return None
            grants = [Grant(need, cost, is_new) for need, cost, is_new in planned]
            self._say(
                [
                    Hold(self._number, to_bytes(need.digest), need.size, cost, is_new, need.pinned)
                    for need, cost, is_new in grants
                    if cost
                ]
            )
            self._say_pinned([need.digest for need, cost, _ in grants if need.pinned and not cost])
            return grants

    def commit(self, written: Iterable[Written]) -> None:
        """Say that bytes are in their files; from now on they are found."""
        with self._changing():
            block = self._space().block
            changes: list[AnyChange] = []
            for grant, runs, disk in written:
                need = grant.need
                if need.digest not in self._state.objects:  # the index was lost meanwhile, and this is nobody's file
                    remove(self._layout.file(need.digest))
                    continue
                charge = accounts.charge_for(disk, self._state.objects.get(need.digest), block)
                digest, packed = to_bytes(need.digest), entries.packed(runs)
                changes.append(Keep(self._number, digest, grant.reserved, grant.new, charge, packed))
            self._say(changes)

    def abandon(self, grants: Iterable[Grant]) -> None:
        """Give back room whose write failed."""
        with self._changing():
            failed = [grant for grant in grants if grant.reserved]
            self._settle([grant.need.digest for grant in failed], self._number)
            self._say([Release(self._number, to_bytes(need.digest), cost, is_new) for need, cost, is_new in failed])

    def touch(self, digests: Iterable[int]) -> None:
        """Say that objects were used."""
        with self._changing():
            self._say([Use([to_bytes(digest) for digest in digests if digest in self._state.objects])])

    def pin(self, digests: Iterable[int]) -> None:
        """Keep objects whatever room is needed for."""
        with self._changing():
            self._say_pinned(list(digests))

    def want(self, count: int, what: bytes, *, filling: bool) -> None:
        """Say how many bytes of disk this process keeps filled; `filling`: with `what` it brings just now."""
        with self._changing():
            self._say([Want(self._number, count, what, filling)])

    def forget_run(self, digest: int, run: Run) -> None:
        """Forget a run whose bytes are not what was written."""
        with self._changing():
            self._say([Forget(to_bytes(digest), entries.packed([run]))])
            entry = self._state.objects.get(digest)
            if entry is not None and entries.is_empty(entry) and not self._state.is_held(digest):
                self._remove([digest])

    def drop(self, digest: int) -> None:
        """Take an object away that nobody writes to."""
        with self._changing():
            if not self._state.is_held(digest):
                self._remove([digest])

    def clear(self) -> int:
        """Take everything away that nobody writes to, pinned or not; return how many objects."""
        with self._changing():
            held = self._state.held()
            digests = [digest for digest in self._state.objects if digest not in held]
            self._remove(digests)
            return len(digests)

    # ---- upkeep

    def totals(self) -> Totals:
        """Return what the cache holds and how full it is, as this process knows it."""
        with self._mutex:
            state = self._state
            mine = state.owners[self._number].what if self._number in state.owners else b""
            others = sum(one.wanted for one in state.owners.values() if one.what != mine)
            standing = accounts.standing(state, self._space(), self._journal.position)
            return Totals(
                state.disk, len(state.objects), state.complete, state.pinned, others, len(state.owners), standing
            )

    def maintain(self) -> None:
        """Learn what others did, tell them what is open, give back what the dead had reserved, restore the bounds."""
        with self._changing():
            self._say(self.open_files.news(self._number, self._state.objects))
            for number, one in list(self._state.owners.items()):
                if number != self._number and not owner.is_alive(self._layout.owners, one.name):
                    self._settle(list(one.held), number)
                    self._say([Leave(number)])
                    owner.bury(self._layout.owners, one.name)
            missing = self._standing().excess
            if missing > 0:
                self._evict(missing, 0, set())

    def compare(self) -> int:
        """Compare files and index, if nobody did since the machine started; return how many files were removed.

        Power may have failed between the two, or the journal was damaged.
        """
        if self.is_compared():
            return 0
        with self._changing():
            block = self._space().block
            removed, freed = 0, 0
            missing = set(self._state.objects) - self._state.held()
            measured: list[tuple[bytes, int]] = []
            for path, digest, taken in self._layout.files():
                entry = None if digest is None else self._state.objects.get(digest)
                if entry is None or digest is None:
                    remove(path)
                    removed += 1
                    freed += taken
                    continue
                missing.discard(digest)
                disk = accounts.charge_for(taken, entry, block)
                if disk != entries.disk_of(entry):
                    measured.append((to_bytes(digest), disk))
            for start in range(0, len(measured), SAID_AT_ONCE):
                self._say([Measure(measured[start : start + SAID_AT_ONCE])])
            self._remove(list(missing))
            self._say([Compared(self._boot, freed)])
            return removed

    def close(self) -> None:
        """Say goodbye."""
        with suppress(OSError), self._changing():
            self._say([Leave(self._number)])
            assert self._owner is not None, "an index that is open has an owner"
            self._owner.close()
        self.abandon_process()

    def abandon_process(self) -> None:
        """Leave everything as a killed process does."""
        with self._mutex:
            if self._owner is not None:
                self._owner.abandon()
            self._journal.close()
            self._lock.close()

    # ---- inside; all of it but `_open` under both locks

    def _open(self) -> None:
        try:
            with self._changing():
                pass
        except BaseException:
            self.abandon_process()
            raise

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the locks, with everything that others did known."""
        with self._mutex, self._lock:
            if self._journal.is_current():
                self._catch_up(self._state)
            else:
                self._read_again()
            if self._journal.cut():
                self._say([Compared("", 0)])
            if self._state.is_empty():
                self._say(accounts.room_found(self._state, self._space()))
            self._join()
            yield
            if self._journal.position > max(2 * self._shortest, LEAST_REWRITTEN):
                self._rewrite()

    def _catch_up(self, state: State) -> None:
        for changes in self._journal.read_new():
            for change in changes:
                state.apply(change)

    def _read_again(self) -> None:
        state = State()
        if self._journal.open():
            self._catch_up(state)
        if not state.begin.first_free:  # there is none, or not even its beginning
            space = measure(self._layout.directory)
            inherits = next(iter(self._layout.files()), None) is not None
            state = State.first(space.free, space.most_objects, "" if inherits else self._boot, inherits=inherits)
            self._journal.replace(state.snapshot())
        self._shortest = min(self._journal.position, state.count_bytes())
        self._state = state

    def _join(self) -> None:
        if self._owner is None:
            self._owner = OwnerLock(self._layout.owners)
        ceiling, reserve = self._limits.ceiling(self._state.first_free), self._limits.kept_free()
        known = self._state.owners.get(self._number)
        if known is not None and known.name == self._owner.name:
            if known.ceiling != ceiling:  # somebody found more room
                self._say(self._state.joining(self._number, ceiling))
            return
        self._number = self._state.next_owner
        self.open_files.nobody_knows()
        self._say([Join(self._number, self._owner.name, ceiling, reserve)])

    def _say(self, changes: Sequence[AnyChange]) -> None:
        if changes:
            self._journal.append(changes)
            for change in changes:
                self._state.apply(change)

    def _say_pinned(self, digests: Iterable[int]) -> None:
        pinned = [to_bytes(digest) for digest in digests if digest in self._state.objects]
        if pinned:
            self._say([Pin(pinned)])

    def _rewrite(self) -> None:
        self._journal.replace(self._state.snapshot())
        self._shortest = self._journal.position

    def _space(self) -> Space:
        return measure(self._layout.directory)

    def _standing(self) -> accounts.Standing:
        return accounts.standing(self._state, self._space(), self._journal.position)

    def _make_room(self, need: int, inodes: int, spared: set[int]) -> bool:
        standing = self._standing()
        missing, files = standing.missing(need, inodes, self._limits), standing.missing_inodes(inodes)
        if need and (missing > 0 or files > 0):
            self._evict(missing, files, spared)
            standing = self._standing()
        return not need or standing.fits(need, inodes)

    def _evict(self, missing: int, files: int, spared: set[int]) -> None:
        chosen = accounts.victims(self._state, missing, files, spared | self.open_files.now)
        self.evicted += self._remove(chosen)

    def _remove(self, digests: Sequence[int]) -> int:
        for start in range(0, len(digests), REMOVED_AT_ONCE):
            batch = digests[start : start + REMOVED_AT_ONCE]
            for digest in batch:
                remove(self._layout.file(digest))
            self._say([Drop([to_bytes(digest) for digest in batch])])
        return len(digests)

    def _settle(self, digests: Sequence[int], number: int) -> None:
        """Charge objects whose write did not end well for what their files take; nothing valid in one: take it away."""
        for digest in digests:
            entry = self._state.objects.get(digest)
            if entry is None:
                continue
            others = any(digest in one.held for other, one in self._state.owners.items() if other != number)
            if entries.is_empty(entry) and not others:
                self._remove([digest])
            else:
                # Somebody else who is writing to it will measure it too, but may be killed.
                disk = max(entries.disk_of(entry), self._layout.taken(digest))
                self._say([Measure([(to_bytes(digest), disk)])])
