"""A store that also reads without a task for whoever asks, over one that does not."""

from contextlib import suppress

import trio

from mountd.stores.base import Missed


class QuickStore:
    """Wraps a store.

    Args:
        inner: is asked, once for each read that was begun.
        accepts: says of each read whether it may begin.
        stall_s: when a read that was begun comes to nothing, seconds.
    """

    def __init__(self, inner, accepts=lambda: True, *, stall_s=20.0):
        self._inner = inner
        self._accepts = accepts
        self._stall_s = stall_s
        self._nursery = None
        self.begun = 0

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def begin_read(self, key, start, length, *, if_match, done):
        if self._nursery is None or not self._accepts():
            return False
        self.begun += 1
        self._nursery.start_soon(self._read, key, start, length, if_match, done)
        return True

    async def serve(self, _moved):
        try:
            async with trio.open_nursery() as self._nursery:
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def _read(self, key, start, length, if_match, done):
        chunk = Missed(trio.current_time())
        with trio.move_on_after(self._stall_s), suppress(Exception):
            chunk = await self._inner.read(key, start, length, if_match=if_match)
        if not self._nursery.cancel_scope.cancel_called:
            done(chunk)
