"""Who goes on first, of many that could: a few tasks at a time, the most urgent ones first.

Bytes of many answers that arrive together are received by one thread. Taking from all of them in turn makes all whole
at the end; taking from a few makes those whole soon, and who waits for them works on while the others are received. A
contender whose urgency grows with its age is not put off for ever.
"""

from heapq import heapify, heappop, heappush

import trio


class _Contender:
    """One that wants a place."""

    __slots__ = ("has_place", "key", "number", "parked")

    def __init__(self, key: float, number: int) -> None:
        self.key = key
        self.number = number
        self.has_place = False
        self.parked: trio.lowlevel.Task | None = None

    def __lt__(self, other: "_Contender") -> bool:
        return (self.key, self.number) < (other.key, other.number)


class Precedence:
    """Places for contenders. Invariant: as long as one is free, nobody waits for longer than one turn of the loop.

    trio runs the tasks that wake in one turn in any order. So whoever finds a place free lets those of the same turn
    say how urgent they are before it is given to one of them, unless there are places for all who `enter`.

    Args:
        places: how many go on at a time.
    """

    def __init__(self, places: int) -> None:
        self._places = self._free = places
        self._inside = 0
        self._count = 0
        self._waiting: list[_Contender] = []
        self._is_settling = False
        """Somebody lets the others of this turn come, and hands the free places out in the next."""

    def enter(self) -> None:
        """Somebody is going to `take` places, now and then; pair with `exit`."""
        self._inside += 1

    def exit(self) -> None:
        """It takes none any more."""
        self._inside -= 1

    async def take(self, key: float) -> None:
        """Take a place, after those whose key is less; pair with `leave`."""
        if self._free and self._inside <= self._places and not self._waiting:
            self._free -= 1
            return
        self._count += 1
        contender = _Contender(key, self._count)
        heappush(self._waiting, contender)
        if self._free and not self._is_settling:
            await self._settle()
        if contender.has_place:
            return
        contender.parked = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._waiting.remove(contender)
            heapify(self._waiting)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def leave(self) -> None:
        """Leave the place to the most urgent one who waits."""
        self._free += 1
        if not self._is_settling:
            self._hand_out()

    async def _settle(self) -> None:
        self._is_settling = True
        try:
            await trio.lowlevel.cancel_shielded_checkpoint()  # one turn: whoever is cancelled in it still hands out
        finally:
            self._is_settling = False
            self._hand_out()

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            first = heappop(self._waiting)
            first.has_place = True
            if first.parked is not None:
                trio.lowlevel.reschedule(first.parked)
