"""What the journal adds up to: which object versions are here, who uses the cache, and the sums of it all.

Pure. `apply` takes any change at any time: a journal may end anywhere, and begin again with what was left. Only one
thread changes a state; any thread may look an entry up, since an entry is replaced and never changed.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from mountd.cache.disk import entry as entries
from mountd.cache.disk.changes import (
    AnyChange,
    Begin,
    Compared,
    Drop,
    Forget,
    Hold,
    Join,
    Keep,
    Leave,
    Measure,
    Objects,
    Pin,
    Release,
    Use,
    Want,
)
from mountd.cache.disk.layout import DIGEST_BYTES

_OBJECTS_AT_ONCE = 5000


@dataclass(slots=True)
class Owner:
    """A process that uses the cache."""

    name: str
    ceiling: int
    reserve: int
    wanted: int = 0
    what: bytes = b""
    filling: bool = False
    reserved: int = 0
    """Bytes of disk for writes under way."""
    files: int = 0
    """New files among them."""
    held: Counter[int] = field(default_factory=Counter)
    """Objects it writes to, with how often."""


class State:
    """The index in memory; sizes are bytes of disk."""

    def __init__(self) -> None:
        self.begin = Begin(first_free=0, most_objects=0, next_owner=1, boot="", inherits=False)
        self.objects: dict[int, bytes] = {}
        """Entries by digest, least recently used first."""
        self.owners: dict[int, Owner] = {}
        self.next_owner = 1
        self.first_free = 0
        self.boot = ""
        self.inherits = False
        self.disk = 0
        self.complete = 0
        self.pinned = 0

    @classmethod
    def first(cls, first_free: int, most_objects: int, boot: str, *, inherits: bool) -> "State":
        """Return the state of an index that is new."""
        state = cls()
        # A disk may have nothing free, and 0 is what a journal without a beginning has.
        begin = Begin(first_free=first_free or 1, most_objects=most_objects, next_owner=1, boot=boot, inherits=inherits)
        state.apply(begin)
        return state

    def count_bytes(self) -> int:
        """Return about how long a journal is that adds up to this state."""
        return sum(map(len, self.objects.values())) + 24 * len(self.objects)

    def is_empty(self) -> bool:
        """Whether nothing is charged for files, and nobody is about to write any."""
        return not self.objects and not any(owner.held for owner in self.owners.values())

    def is_held(self, digest: int) -> bool:
        """Whether somebody is writing to an object."""
        return any(digest in owner.held for owner in self.owners.values())

    def held(self) -> set[int]:
        """Return all objects that somebody is writing to."""
        return {digest for owner in self.owners.values() for digest in owner.held}

    def snapshot(self) -> Iterator[list[AnyChange]]:
        """Yield the steps of a journal that adds up to this state."""
        yield [self.beginning(self.first_free, self.begin.most_objects)]
        items = iter(self.objects.items())
        while batch := list(islice(items, _OBJECTS_AT_ONCE)):
            yield [Objects([(to_bytes(digest), entry) for digest, entry in batch])]
        for number, owner in self.owners.items():
            yield self.joining(number, owner.ceiling)

    def beginning(self, first_free: int, most_objects: int) -> Begin:
        """Return what says all that a journal begins with, but with this much room."""
        return Begin(
            first_free=first_free,
            most_objects=most_objects,
            next_owner=self.next_owner,
            boot=self.boot,
            inherits=self.inherits,
        )

    def joining(self, number: int, ceiling: int) -> list[AnyChange]:
        """Return the step that says all that is known of an owner, but with this ceiling."""
        owner = self.owners[number]
        return [
            Join(number, owner.name, ceiling, owner.reserve, owner.wanted, owner.what, owner.filling),
            *self._holds(number, owner),
        ]

    def apply(self, change: AnyChange) -> None:  # noqa: C901, PLR0912 - one case for each kind of change
        """Take a change into account."""
        match change:
            case Keep():
                self._release(change)
                self._keep(change)
            case Hold():
                self._hold(change)
            case Objects(objects=pairs):
                for digest, entry in pairs:
                    self._put(from_bytes(digest), entry)
            case Use(digests=digests):
                for digest in digests:
                    self._touch(from_bytes(digest))
            case Drop(digests=digests):
                for digest in digests:
                    self._drop(from_bytes(digest))
            case Release():
                self._release(change)
            case Forget(digest=digest, run=run):
                if (found := self.objects.get(from_bytes(digest))) is not None:
                    self._put(from_bytes(digest), entries.without_run(found, entries.unpacked(run)[0]))
            case Pin(digests=digests):
                for digest in digests:
                    if (found := self.objects.get(from_bytes(digest))) is not None:
                        self._put(from_bytes(digest), entries.with_pin(found))
            case Measure(measured=measured):
                for digest, disk in measured:
                    if (found := self.objects.get(from_bytes(digest))) is not None:
                        self._put(from_bytes(digest), entries.with_disk(found, disk))
            case Join():
                self.owners[change.owner] = Owner(
                    change.name, change.ceiling, change.reserve, change.wanted, change.what, change.filling
                )
                self.next_owner = max(self.next_owner, change.owner + 1)
            case Leave(owner=number):
                self.owners.pop(number, None)
            case Want(owner=number):
                if number in self.owners:
                    owner = self.owners[number]
                    owner.wanted, owner.what, owner.filling = change.wanted, change.what, change.filling
            case Begin():
                self._begin(change)
            case Compared(boot=boot, freed=freed):
                self.boot = boot
                if self.inherits:
                    self.first_free += freed
                    self.inherits = not boot

    # ---- inside

    def _begin(self, change: Begin) -> None:
        self.begin = change
        self.first_free = change.first_free
        self.next_owner = change.next_owner
        self.boot = change.boot
        self.inherits = change.inherits

    def _hold(self, change: Hold) -> None:
        digest = from_bytes(change.digest)
        entry = self.objects.get(digest)
        if entry is None:
            entry = entries.new(change.size)
        self._put(digest, entries.with_pin(entry) if change.pinned else entry)
        owner = self.owners.get(change.owner)
        if owner is not None:
            owner.reserved += change.reserved
            owner.files += change.new
            owner.held[digest] += 1

    def _release(self, change: Keep | Release) -> None:
        owner = self.owners.get(change.owner)
        digest = from_bytes(change.digest)
        if owner is not None and owner.held[digest] > 0:
            owner.reserved -= change.reserved
            owner.files -= change.new
            owner.held[digest] -= 1
            if owner.held[digest] <= 0:
                del owner.held[digest]

    def _keep(self, change: Keep) -> None:
        digest = from_bytes(change.digest)
        entry = self.objects.get(digest)
        if entry is not None:
            grown = entries.with_disk(entry, max(entries.disk_of(entry), change.disk))
            self._put(digest, entries.with_runs(grown, entries.unpacked(change.runs)))
            self._touch(digest)

    def _touch(self, digest: int) -> None:
        entry = self.objects.pop(digest, None)
        if entry is not None:
            self.objects[digest] = entry

    def _put(self, digest: int, entry: bytes) -> None:
        self._count(self.objects.get(digest), -1)
        self.objects[digest] = entry
        self._count(entry, 1)

    def _drop(self, digest: int) -> None:
        self._count(self.objects.pop(digest, None), -1)

    def _count(self, entry: bytes | None, sign: int) -> None:
        if entry is not None:
            disk = entries.disk_of(entry)
            self.disk += sign * disk
            self.complete += sign * entries.is_complete(entry)
            self.pinned += sign * (disk if entries.is_pinned(entry) else 0)

    @staticmethod
    def _holds(number: int, owner: Owner) -> Iterator[Hold]:
        # How what is reserved is spread over the writes does not matter: the sums do.
        reserved, files = owner.reserved, owner.files
        for digest in owner.held.elements():
            yield Hold(number, to_bytes(digest), 0, reserved, files > 0)
            reserved, files = 0, files - 1


def to_bytes(digest: int) -> bytes:
    """Return a digest as the journal has it."""
    return digest.to_bytes(DIGEST_BYTES, "big")


def from_bytes(digest: bytes) -> int:
    """Return a digest of the journal as a number."""
    return int.from_bytes(digest, "big")
