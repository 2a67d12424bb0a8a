"""Who goes on first, of many that could: a few tasks at a time, the most urgent ones first.

Bytes of many answers that arrive together are received by one thread. Taking from all of them in turn makes all whole
at the end; taking from a few makes those whole soon, and who waits for them works on while the others are received. A
contender whose urgency grows with its age is not put off for ever.
"""

from heapq import heapify, heappop, heappush

import trio


class Precedence:
    """Places for contenders. Invariant: as long as one is free, nobody waits.

    Args:
        places: how many go on at a time.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._count = 0
        self._waiting: list[tuple[float, int, trio.lowlevel.Task]] = []

    async def take(self, key: float) -> None:
        """Take a place, after those whose key is less; pair with `leave`. No checkpoint where one is free."""
        if self._free:
            self._free -= 1
            return
        self._count += 1
        waiting = (key, self._count, trio.lowlevel.current_task())
        heappush(self._waiting, waiting)

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._waiting.remove(waiting)
            heapify(self._waiting)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def leave(self) -> None:
        """Leave the place to the most urgent one who waits."""
        if self._waiting:
            trio.lowlevel.reschedule(heappop(self._waiting)[2])
        else:
            self._free += 1
