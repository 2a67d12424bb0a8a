"""OPENs that wait for first bytes without a task of their own: most of them for less than a moment.

One that waits for longer is handed over to a task, which has a deadline and can say what is wrong. Each OPEN is
answered once: by whoever it is with.
"""

from collections.abc import Callable

import trio

from mountd.vfs.opens import Opening

MOMENT_S = 1.0


class Openings:
    """Those of one session."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Opening, Callable[[], None]]] = {}
        """By the request's number, oldest first."""
        self._seen: set[int] = set()
        """Those that waited a moment ago already."""
        self._some = trio.Event()
        self._looking = trio.CancelScope()

    def add(self, unique: int, opening: Opening, hand_over: Callable[[], None]) -> None:
        """An OPEN waits; `hand_over` has a task open the file and answer."""
        self._waiting[unique] = (opening, hand_over)
        self._some.set()

    def remove(self, unique: int) -> None:
        """It waits no longer."""
        del self._waiting[unique]

    async def look_after(self) -> None:
        """Hand over those that wait for longer than a moment, until `end`."""
        with self._looking:
            while True:
                await self._some.wait()
                await trio.sleep(MOMENT_S)
                self._give_up([unique for unique in self._waiting if unique in self._seen])
                self._seen = set(self._waiting)
                if not self._waiting:
                    self._some = trio.Event()

    def end(self) -> None:
        """Hand over all of them; there will be no others."""
        self._give_up(list(self._waiting))
        self._looking.cancel()

    def drop(self) -> None:
        """Nobody waits for an answer any more, or can get one."""
        while self._waiting:
            self._waiting.popitem()[1][0].give_up()

    def _give_up(self, requests: list[int]) -> None:
        for unique in requests:
            opening, hand_over = self._waiting.pop(unique)
            opening.give_up()
            hand_over()
