"""All pages of a listing in their order, the next one asked for while the one before is taken apart.

Two pages are under way at most: the one whose turn it is, and the one after it. A marker that a store has said early
is believed for asking alone: what follows a page is what the page says.
"""

from collections.abc import Callable

import trio

from mountd.stores.base import Page, PagesAhead, Store

Take = Callable[[Page, float], None]
"""Takes a page, and when it was asked for, on the loop's clock."""


async def each_page(store: Store, directory: str, take: Take, *, deep: bool = False) -> None:
    """Call `take` with each page of `directory`, of everything below it if `deep`; errors are those of the store.

    What follows the page that failed is not asked for any more, or given up.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        turns = _Turns(store, directory, nursery, deep=deep)
        try:
            await turns.take_all(take)
        except Exception as error:  # noqa: BLE001 - raised below: out of the nursery it would come in a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class _Turn:
    """One page, from when it is asked for."""

    def __init__(self, marker: str | None) -> None:
        self.marker = marker
        self.asked_at = trio.current_time()
        self.page: Page | None = None
        self.error: Exception | None = None
        self.done = trio.Event()
        self.scope = trio.CancelScope()
        self.next_marker: str | None = None
        """That of the page after it, as far as it is known."""
        self.next: _Turn | None = None


class _Turns:
    """The pages of one listing."""

    def __init__(self, store: Store, directory: str, nursery: trio.Nursery, *, deep: bool) -> None:
        self._store = store
        self._ahead = store if isinstance(store, PagesAhead) else None
        self._directory = directory
        self._nursery = nursery
        self._deep = deep
        self._current = self._begin(None)

    async def take_all(self, take: Take) -> None:
        while True:
            turn = self._current
            await turn.done.wait()
            if turn.error is not None:
                raise turn.error
            page = turn.page
            assert page is not None, "set together with done"
            follower = self._follower(turn, page.next)
            take(page, turn.asked_at)
            if follower is None:
                return
            self._current = follower
            if follower.next_marker is not None:
                self._look_ahead(follower)

    def _follower(self, turn: _Turn, marker: str | None) -> _Turn | None:
        """Return the turn of the page that begins at `marker`; it is asked for by now."""
        if turn.next is not None and turn.next.marker == marker:
            return turn.next
        if turn.next is not None:
            turn.next.scope.cancel()
        return None if marker is None else self._begin(marker)

    def _begin(self, marker: str | None) -> _Turn:
        turn = _Turn(marker)
        self._nursery.start_soon(self._ask, turn)
        return turn

    def _look_ahead(self, turn: _Turn) -> None:
        if turn is self._current and turn.next is None:
            turn.next = self._begin(turn.next_marker)

    async def _ask(self, turn: _Turn) -> None:
        def following(marker: str) -> None:
            turn.next_marker = marker
            self._look_ahead(turn)

        with turn.scope:
            try:
                turn.page = await self._page(turn.marker, following)
            except Exception as error:  # noqa: BLE001 - raised when it is its turn
                turn.error = error
            turn.done.set()

    async def _page(self, marker: str | None, following: Callable[[str], None]) -> Page:
        if self._ahead is not None:
            return await self._ahead.page_ahead(self._directory, marker, deep=self._deep, following=following)
        if self._deep:
            return await self._store.walk_page(self._directory, marker)
        return await self._store.list_page(self._directory, marker)
