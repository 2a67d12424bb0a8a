"""A store whose requests take time on their way there and on their way back, and may fail or hang at either end."""

import trio

METHODS = ("list_page", "walk_page", "stat", "is_directory", "read", "put", "begin_upload")


class SlowStore:
    """Wraps a store.

    Args:
        inner: answers at the moment in between.
        there_s: seconds before the inner store is asked: a number, or a function of the method's name and the key.
        back_s: seconds before its answer arrives.

    `fault`, if set, is awaited with the method's name and the key before the inner store is asked, and may raise.
    """

    def __init__(self, inner, *, there_s=0.0, back_s=0.0):
        self.inner = inner
        self.there_s = there_s
        self.back_s = back_s
        self.fault = None
        self.running = 0
        self.hanging = False
        """New calls never return."""

    def __getattr__(self, method):
        inner = getattr(self.inner, method)
        if method not in METHODS:
            return inner

        async def call(key, *args, **kwargs):
            self.running += 1
            try:
                if self.hanging:
                    await trio.sleep_forever()
                await trio.sleep(self._seconds(self.there_s, method, key))
                if self.fault is not None:
                    await self.fault(method, key)
                answer = await inner(key, *args, **kwargs)
                await trio.sleep(self._seconds(self.back_s, method, key))
                return answer
            finally:
                self.running -= 1

        return call

    @staticmethod
    def _seconds(setting, method, key):
        return setting(method, key) if callable(setting) else setting
