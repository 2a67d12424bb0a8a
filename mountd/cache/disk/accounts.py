"""The sums that keep the cache within its bounds: what counts, how much fits, and who has to go.

What counts against the ceiling: the blocks of all files, everything reserved for writes under way, directory entries,
and the journal with the room that its next rewriting takes. What is reserved is granted before a byte is written and
given back when the file was measured, so the sum is never less than what the disk holds, in any process and at any
moment.
"""

from typing import NamedTuple

from mountd.cache.disk import entry as entries
from mountd.cache.disk.changes import AnyChange
from mountd.cache.disk.layout import FAN_OUT
from mountd.cache.disk.room import NO_CEILING, CacheLimits, Space, spared_inodes
from mountd.cache.disk.state import State
from mountd.units import KIB

PLACE = 96
"""Bytes of a directory that one name takes."""
JOURNAL_SLACK = 256 * KIB
"""What may be added to the journal between two looks at the sums."""
EXTENTS_INSIDE = 4
EXTENTS_PER_BLOCK = 300
"""A file of more pieces than fit its inode takes more blocks for saying where they are, later than it is measured."""
TOLD_FROM = 50
"""An empty cache says that it has found more room from one in so many more on: what is free is never quite the same."""


class Standing(NamedTuple):
    """How full the cache is, in bytes."""

    charged: int
    """Files, reservations, directories and journal."""
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

    def missing(self, need: int, inodes: int, limits: CacheLimits) -> int:
        """Return the bytes to be freed before `need` more in `inodes` new files fit; nothing if not positive."""
        wanted = need + inodes * PLACE
        missing = self.excess + wanted
        if self.charged + wanted > self.ceiling * limits.prune_threshold:
            missing = max(missing, self.charged + wanted - int(self.ceiling * limits.prune_target))
        return missing

    def missing_inodes(self, inodes: int) -> int:
        """Return the files to be removed before `inodes` more can be made; nothing if not positive."""
        return 0 if self.free_inodes is None else inodes - self.free_inodes

    def fits(self, need: int, inodes: int) -> bool:
        """Whether `need` more bytes in `inodes` new files fit."""
        return self.excess + need + inodes * PLACE <= 0 and self.missing_inodes(inodes) <= 0


def standing(state: State, space: Space, journal_bytes: int) -> Standing:
    """Return how full the cache is, the disk being as `space` says."""
    owners = state.owners.values()
    reserved = sum(owner.reserved for owner in owners)
    files = sum(owner.files for owner in owners)
    overhead = 2 * journal_bytes + JOURNAL_SLACK + (FAN_OUT + 8) * space.block
    spare = None
    if space.free_inodes is not None:
        spare = min(space.free_inodes - spared_inodes(space), state.begin.most_objects - len(state.objects)) - files
    return Standing(
        charged=state.disk + reserved + len(state.objects) * PLACE + overhead,
        ceiling=min((owner.ceiling for owner in owners), default=NO_CEILING),
        free=space.free - reserved,
        kept_free=max((owner.reserve for owner in owners), default=0),
        block=space.block,
        free_inodes=spare,
    )


def room_found(state: State, space: Space) -> list[AnyChange]:
    """Return what is to be said when an empty cache has more room than it has known: percentages are of it then.

    Less room is no news: a disk that is full for a moment would leave a useless cache, and the reserve guards the disk.
    """
    if not state.is_empty():
        return []
    free, most = state.first_free, state.begin.most_objects
    if space.free <= free + free // TOLD_FROM and space.most_objects <= most + most // TOLD_FROM:
        return []
    return [state.beginning(max(free, space.free), max(most, space.most_objects))]


def victims(state: State, missing: int, files: int, spared: set[int]) -> list[int]:
    """Return the least recently used objects, `missing` bytes and `files` files of them, as far as there are."""
    held = state.held() | spared
    chosen: list[int] = []
    for digest, entry in state.objects.items():
        if missing <= 0 and files <= 0:
            break
        if digest not in held and not entries.is_pinned(entry):
            chosen.append(digest)
            missing -= entries.disk_of(entry) + PLACE
            files -= 1
    return chosen


def charge_for(measured: int, entry: bytes | None, block: int) -> int:
    """Return what a file counts for that takes `measured` bytes now."""
    runs = 0 if entry is None else entries.count_runs(entry)
    return measured if runs <= EXTENTS_INSIDE else measured + (1 + runs // EXTENTS_PER_BLOCK) * block
