"""The extents that are held, by why they are, and in which order they go when their memory is needed.

Each held extent is in one queue, oldest first: *delivered*, *left* by the last user of its object, fetched *early* for
nobody yet, or *fresh*. Delivered ones go first, then those left behind; only a reader that waits takes the place of the
other two. One that a reader waits for (`pins`) stays. Bookkeeping only: no I/O, and the budget is the caller's.
"""

from collections import OrderedDict
from collections.abc import Callable

import trio

from mountd.cache.cached_object import CachedObject
from mountd.cache.extents import Extent
from mountd.units import MIB

KEEP_DELIVERED = 8 * MIB
"""Bytes that are kept of extents that were delivered."""
EARLY_S = 20.0
"""How long what was fetched for nobody is kept for who may come, seconds."""

Queue = OrderedDict[Extent, CachedObject]


class Kept:
    """Those of one cache.

    Args:
        emptied: called with an object that may have lost its last extent.
    """

    def __init__(self, emptied: Callable[[CachedObject], None]) -> None:
        self._emptied = emptied
        self.delivered: Queue = OrderedDict()
        self.left: Queue = OrderedDict()
        """Not delivered, and nobody uses their object."""
        self.early: Queue = OrderedDict()
        """Of objects that nobody has acquired yet."""
        self.fresh: Queue = OrderedDict()
        self.delivered_bytes = 0
        self.early_bytes = 0
        """Charged for what is fetched early, on its way included."""
        self.evicted_unread = 0

    def arrived(self, found: CachedObject, extent: Extent) -> None:
        """The bytes of `extent` are here."""
        if found.users:
            self.fresh[extent] = found
            found.fresh[extent] = None
            return
        extent.spent = True
        queue = self.left if found.early_until is None else self.early
        queue[extent] = found

    def touched(self, found: CachedObject, extent: Extent, start: int, stop: int) -> int:
        """The bytes [start, stop) of `extent` are being delivered; return the bytes of memory that frees."""
        if not extent.delivered(start, stop):
            if not extent.spent:
                self.fresh.move_to_end(extent)
            return 0
        if extent in self.delivered:
            self.delivered.move_to_end(extent)
            return 0
        if not extent.spent:
            self._spend(found, extent)
        else:
            del self.left[extent]
        self.delivered[extent] = found
        self.delivered_bytes += extent.charged
        surplus = self.delivered_bytes - KEEP_DELIVERED
        if surplus <= 0:
            return 0
        # Not the one at hand: its bytes are still to be handed out, and it is the newest.
        return self._evict(self.delivered, min(surplus, self.delivered_bytes - extent.charged))

    def leave(self, found: CachedObject) -> None:
        """The last user of an object is gone: else what it left would keep later streams from fetching ahead."""
        for extent in list(found.fresh):
            self._spend(found, extent)
            self.left[extent] = found

    def claim(self, found: CachedObject) -> None:
        """Somebody came for what was fetched early."""
        found.early_until = None
        for extent in found.extents.within(0, found.version.size):
            self.early_bytes -= extent.charged
            if extent.data is not None:
                del self.early[extent]
                extent.spent = False
                self.fresh[extent] = found
                found.fresh[extent] = None

    def leave_late(self) -> None:
        """Leave behind what was fetched early and nobody came for."""
        now = trio.current_time()
        while self.early:
            extent, found = next(iter(self.early.items()))
            if found.early_until is None or now < found.early_until:
                return
            del self.early[extent]
            self.early_bytes -= extent.charged
            found.early_until = None
            self.left[extent] = found

    def give_up(self, missing: int, *, for_reader: bool) -> int:
        """Evict until `missing` bytes are free, if that can be; return the bytes of memory that frees."""
        self.leave_late()
        freed = 0
        for queue in (self.delivered, self.left, self.early, self.fresh)[: 4 if for_reader else 2]:
            if freed < missing:
                freed += self._evict(queue, missing - freed)
        return freed

    def _spend(self, found: CachedObject, extent: Extent) -> None:
        extent.spent = True
        del self.fresh[extent]
        del found.fresh[extent]

    def _evict(self, queue: Queue, missing: int) -> int:
        freed = 0
        pinned: list[tuple[Extent, CachedObject]] = []
        while queue and freed < missing:
            extent, found = queue.popitem(last=False)
            if extent.pins:
                pinned.append((extent, found))
                continue
            if not extent.spent:
                self.evicted_unread += 1
                del found.fresh[extent]
            found.extents.remove(extent)
            extent.data = None
            freed += extent.charged
            extent.charged = 0
            self._emptied(found)
        if queue is self.delivered:
            self.delivered_bytes -= freed
        elif queue is self.early:
            self.early_bytes -= freed
        for extent, found in reversed(pinned):
            queue[extent] = found
            queue.move_to_end(extent, last=False)
        return freed
