"""How far a request has come: what its deadline counts from.

Whoever receives bytes says so with `current().moved(…)`, in the loop or in a thread of a lane; whoever waits reads
`at`. Progress is what makes a request end one day:

- `LEAST` bytes that are new: one that drips, or breaks off at the same place over and over, makes none. Of many
  requests side by side each owes its share, down to `LEAST_OF_MANY`: a slow link is divided among them.
- Of the first `FRESH_STARTS` tries after a failed one everything counts, of later ones only what no earlier one had
  brought: a connection may break off, and what breaks off for ever must end.
- A request that waits for its place, or for bytes that another one fetches for both, gets on as the others do.

One thread at a time writes, as a rule; where several do, a count that is lost is made up for by the next.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar

from mountd.units import KIB

LEAST = 64 * KIB
LEAST_OF_MANY = 1 * KIB
FRESH_STARTS = 3


def share_of(requests: int) -> int:
    """Return the bytes that are progress of one of so many requests to one store."""
    return max(LEAST_OF_MANY, LEAST // max(1, requests))


class Progress:
    """The progress of one request.

    Args:
        clock: seconds; may be read in any thread.
        least: returns how many bytes are progress.
        tell: called, in whichever thread, on progress; but not again within `quiet_s`.
        quiet_s: seconds.
        since: when the request began, by the clock; by default now.
    """

    __slots__ = (
        "_began",
        "_came",
        "_clock",
        "_counted",
        "_fresh_starts",
        "_least",
        "_quiet_s",
        "_tell",
        "_told",
        "_who_waits",
        "at",
        "over",
        "waits",
    )

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        least: Callable[[], int] = lambda: LEAST,
        tell: Callable[[], None] = lambda: None,
        quiet_s: float = 0.0,
        since: float | None = None,
    ) -> None:
        self._clock = clock
        self._least = least
        self._tell = tell
        self._quiet_s = quiet_s
        self._came = 0
        """Bytes of this try."""
        self._counted = 0
        """Of them, those that were taken for progress; or of an earlier try, the most."""
        self._fresh_starts = FRESH_STARTS
        self._who_waits: list[list[Progress]] = []
        self._began = clock()
        """This try."""
        self.at = self._began if since is None else since
        """When there was progress last, or the request began; by the clock."""
        self._told = self.at
        self.waits = False
        """For a place: nobody has begun with it."""
        self.over = False
        """Nobody waits for the request any more."""

    def left_s(self, limit_s: float) -> float:
        """Return the seconds until this try made no progress for `limit_s`; 0 where nobody waits any more."""
        return 0.0 if self.over else max(0.0, max(self.at, self._began) + limit_s - self._clock())

    def moved(self, count: int) -> None:
        """`count` bytes came."""
        self._came += count
        if self._came - self._counted >= self._least():
            self._counted = self._came
            self.renew()
        for group in self._who_waits:
            for other in tuple(group):
                if other is not self:
                    other._follow(count)  # noqa: SLF001 - of its own class

    def try_again(self) -> None:
        """Another try begins."""
        if self._came and self._fresh_starts:
            self._fresh_starts -= 1
            self._counted = 0
        self._came = 0
        self._began = self._clock()

    def renew(self) -> None:
        """There is progress now."""
        self.at = self._clock()
        if self.at - self._told >= self._quiet_s:
            self._told = self.at
            self._tell()

    def begin(self) -> None:
        """The request has its place. That is no progress: in a store that is silent, all have theirs one day."""
        self.waits = False

    def lead(self, group: "list[Progress]") -> None:
        """From now on who is in `group` waits for this request."""
        self._who_waits.append(group)

    def leave(self, group: "list[Progress]") -> None:
        """Undo `lead`."""
        self._who_waits = [other for other in self._who_waits if other is not group]

    def _follow(self, count: int) -> None:
        # Not passed on: those who wait for one another in a circle (listings do, in several threads) would never end.
        self._came += count
        if self._came - self._counted >= self._least():
            self._counted = self._came
            self.renew()


_CURRENT: ContextVar[Progress] = ContextVar("progress")

set_current = _CURRENT.set
reset_current = _CURRENT.reset


def current() -> Progress:
    """Return the progress of the request that this task, or this thread of a lane, works for; else a new one."""
    return _CURRENT.get(None) or Progress()
