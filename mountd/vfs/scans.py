"""Who opens the files of a directory in its order: a pure state machine, one for each directory.

Copying a tree, packing it, counting or evaluating over it opens file after file in the order of the listing, and each
open costs one request's time. It sees the places of opened files in the listing and says which to fetch before they are
opened; it does no I/O and keeps no time.

- A file is opened in order if most of those just before it were opened lately, and in order themselves. Opens in no
  order are not, though in a small directory all neighbours were opened lately; nor are those of every n-th file: most
  of what is fetched ahead for them would never be read.
- Several programs, or the workers of one, may scan a directory in several places: each is a scan of its own. Workers
  that share the work of one scan are a little out of order.
- The window grows when an open has to wait, at most once for each quarter of a window, and is halved where memory is
  short.
"""

from itertools import combinations

BEFORE = 8
MOST_OF_THEM = 6
"""So many of the `BEFORE` files before one have to have been opened."""
JUST_NOW = 24
"""Opens in the directory ago: what was opened since then may be as much out of order as workers make it."""
LATELY = 64
"""Opens in the directory ago: enough for eight workers with a batch each."""
SLACK = 16
"""How far from its furthest open a scan is met again, in files."""
FIRST_WINDOW = 8
LARGEST_WINDOW = 64
"""Files ahead of a scan; at 15 ms a request they make 4,000 a second."""
MOST_SCANS = 32
"""Told apart in one directory; the one that was moved least recently makes room."""


class _Scan:
    __slots__ = ("ahead", "grow_at", "top", "used", "window")

    def __init__(self, place: int) -> None:
        self.top = place
        """The furthest that was opened."""
        self.ahead = place + 1
        """Up to here was fetched or is being fetched."""
        self.window = FIRST_WINDOW
        self.grow_at = place + 1
        self.used = 0


class Scans:
    """The scans of one directory."""

    __slots__ = ("_opened", "_scans", "_tick")

    def __init__(self) -> None:
        self._opened: dict[int, int] = {}
        """When a place was opened last, in opens; in that order."""
        self._scans: list[_Scan] = []
        self._tick = 0

    def observe(self, place: int, *, stalled: bool, largest: int = LARGEST_WINDOW) -> range:
        """Take note of an open of the file at `place` and return the places to fetch now, none of them twice.

        Args:
            place: the file's index in the listing.
            stalled: the open has to wait.
            largest: the largest window for files of this size.
        """
        in_order = self._is_in_order(place)
        scan = self._near(place)
        if scan is not None:
            scan.top = max(scan.top, place)
        if not in_order:
            return range(0)
        if scan is None:
            scan = self._begin(place)
        scan.used = self._tick
        if stalled and place >= scan.grow_at:
            scan.window *= 2
            scan.grow_at = scan.top + scan.window // 4
        scan.window = max(1, min(scan.window, largest))
        ahead = range(max(scan.ahead, scan.top + 1), scan.top + 1 + scan.window)
        scan.ahead = max(scan.ahead, ahead.stop)
        return ahead

    def refused(self, place: int) -> None:
        """The owner had no memory for the file at `place`: ask again from there, with smaller windows."""
        for scan in self._scans:
            scan.window = max(1, scan.window // 2)
        self.later(place)

    def later(self, place: int) -> None:
        """It is too early for the file at `place`: ask again from there."""
        for scan in self._scans:
            if scan.top < place < scan.ahead:
                scan.ahead = place

    def _is_in_order(self, place: int) -> bool:
        self._tick += 1
        since = self._tick - LATELY
        opened = self._opened
        opened.pop(place, None)
        opened[place] = self._tick
        while opened[oldest := next(iter(opened))] < since:
            del opened[oldest]
        ticks = [opened[before] for before in range(place - BEFORE, place) if before in opened]
        if len(ticks) < MOST_OF_THEM:
            return False
        # Of opens in no order, one in 200 has so few pairs of neighbours out of order; among those just now, one in 30.
        swapped = sum(earlier > later for earlier, later in combinations(ticks, 2))
        return swapped <= len(ticks) - (2 if min(ticks) > self._tick - JUST_NOW else 5)

    def _near(self, place: int) -> _Scan | None:
        scan = min(self._scans, key=lambda scan: abs(scan.top - place), default=None)
        return scan if scan is not None and abs(scan.top - place) <= SLACK else None

    def _begin(self, place: int) -> _Scan:
        if len(self._scans) >= MOST_SCANS:
            self._scans.remove(min(self._scans, key=lambda scan: scan.used))
        scan = _Scan(place)
        self._scans.append(scan)
        return scan
