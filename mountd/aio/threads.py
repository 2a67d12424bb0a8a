"""The one bridge from the trio loop to blocking calls.

Every blocking call of the process goes through a `Lane`: a named limit on how many run at once. A cancelled caller
leaves at once; its call runs on in the thread until the call's own timeouts end it, and keeps its place in the lane
until then, so the number of threads never exceeds the limit. Whoever passes a call here sees to it that it ends.

A lane has threads of its own, instead of trio's: results that are ready together wake the loop once, and a call costs
neither a task's context nor a cancel status (an eighth to a fifth less processor time for each small file). Calls see
no context variables of the caller but its progress (`aio.progress`), and cannot call back into trio.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import outcome
import trio

from mountd.aio.progress import Progress, current, set_current

T = TypeVar("T")

IDLE_S = 5.0
"""A thread that had nothing to do for so long ends."""


class _Call(Generic[T]):
    """One call, from `Lane.run` or `Lane.post` until its thread is free again."""

    __slots__ = ("args", "function", "posted", "progress", "result", "task", "token")

    def __init__(self, function: Callable[..., T], args: tuple[object, ...], *, posted: bool = False) -> None:
        self.function = function
        self.args = args
        self.posted = posted
        """Nobody waits for it, and it runs all the same."""
        self.progress: Progress = current()
        self.token = trio.lowlevel.current_trio_token()
        self.task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        """Who waits; None once nobody does."""
        self.result: outcome.Outcome[T] | None = None


class Lane:
    """A named limit for blocking calls of one kind.

    Invariant, under `_lock`: `_unfinished` calls are queued or running, and as long as it is not 0, `_threads` is
    at least 1 and at most `limit`.
    """

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self._limit = limit
        self._queue: SimpleQueue[_Call[Any]] = SimpleQueue()
        self._lock = threading.Lock()
        """Held for a few assignments, never for a call."""
        self._threads = 0
        self._unfinished = 0
        self._finished: list[_Call[Any]] = []
        """Calls whose callers are yet to be told; while there are any, their loop has been asked to do it."""
        self._token: trio.lowlevel.TrioToken | None = None
        """The loop of the calls in `_finished`. A store may be closed in another loop than it was used in."""

    async def run(self, call: Callable[..., T], *args: object) -> T:
        """Run `call(*args)` in a thread and return its result; waits for a place in the lane first."""
        await trio.lowlevel.checkpoint_if_cancelled()
        made = _Call(call, args)
        self._enqueue(made)

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            made.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        result: T = await trio.lowlevel.wait_task_rescheduled(abort)  # what `_deliver` hands over
        return result

    def post(self, call: Callable[..., None], *args: object) -> None:
        """Run `call(*args)` in a thread. Nobody waits for it, or hears what it raises.

        Raises:
            RuntimeError: no thread can be had; it will not run.
        """
        self._enqueue(_Call(call, args, posted=True))

    @property
    def limit(self) -> int:
        """How many calls may run at once."""
        return self._limit

    @property
    def busy(self) -> int:
        """How many calls run now."""
        return min(self._unfinished, self._limit)

    @property
    def unfinished(self) -> int:
        """How many calls run or wait for a place."""
        return self._unfinished

    def _enqueue(self, made: _Call[Any]) -> None:
        with self._lock:
            if made.token is not self._token:
                self._token = made.token
                self._finished = []  # of a loop that is over, and will not tell them any more
            self._unfinished += 1
            if self._unfinished > self._limit and not made.posted:
                made.progress.waits = True
            starting = self._threads < min(self._unfinished, self._limit)
            self._threads += starting
            self._queue.put(made)
        if starting:
            self._start_thread(made)

    def _start_thread(self, made: _Call[Any]) -> None:
        try:
            threading.Thread(target=self._work, name=f"mountd {self.name}", daemon=True).start()
        except Exception as error:
            with self._lock:
                self._threads -= 1
                if self._threads and isinstance(error, RuntimeError):  # no more threads to be had
                    return  # those that there are will come to it
                made.posted, made.task = False, None  # whoever finds it one day leaves it alone
            raise

    # ---- in threads

    def _work(self) -> None:
        while True:
            try:
                call = self._queue.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    if self._queue.empty():  # else a call came in this very moment, counting on this thread
                        self._threads -= 1
                        return
                continue
            if call.posted or call.task is not None:  # whoever is cancelled while waiting for a place never runs
                set_current(call.progress)
                call.progress.begin()
                call.result = outcome.capture(call.function, *call.args)
            with self._lock:
                self._unfinished -= 1
                current = call.token is self._token and not call.posted
                waking = current and not self._finished
                if current:
                    self._finished.append(call)
            if waking:
                with suppress(trio.RunFinishedError):  # then nobody waits any more
                    call.token.run_sync_soon(self._deliver)
            del call  # an idle thread keeps no result alive

    # ---- in the loop

    def _deliver(self) -> None:
        with self._lock:
            finished, self._finished = self._finished, []
        for call in finished:
            if call.task is not None and call.result is not None:
                trio.lowlevel.reschedule(call.task, call.result)
                call.task = None
