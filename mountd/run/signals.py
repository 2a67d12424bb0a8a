"""Signals that reach a run, routed to whoever is in charge of it at the moment.

One receiver lives as long as the run, so that no phase of it is ever ended by a signal's default action with mounts
left behind. A phase says with `SignalRouter.to` who handles signals meanwhile; outside of every phase they wait for
the next one. Handlers are plain functions: they decide at once and must not block.
"""

import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import trio

Handler = Callable[[signal.Signals], None]

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
"""What asks a run to end."""

_ROUTED = ENDING | {
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGWINCH,
    signal.SIGCHLD,
}


class SignalRouter:
    """Hands every signal to the handler of the current phase."""

    def __init__(self) -> None:
        self._handler: Handler | None = None
        self._waiting: list[signal.Signals] = []

    @contextlib.contextmanager
    def to(self, handler: Handler) -> Iterator[None]:
        """Route signals to `handler` in the body, those that came before it first."""
        outer, self._handler = self._handler, handler
        waiting, self._waiting = self._waiting, []
        try:
            for number in waiting:
                handler(number)
            yield
        finally:
            self._handler = outer

    def route(self, number: signal.Signals) -> None:
        """Hand over one signal."""
        if self._handler is None:
            self._waiting.append(number)
        else:
            self._handler(number)


@contextlib.asynccontextmanager
async def routed_signals() -> AsyncIterator[SignalRouter]:
    """Route this process's signals in the body.

    Signals that were ignored when mountd was started (`nohup`, a background job of a script) stay ignored, here and in
    the command: installing a handler would make them deadly to it.
    """
    router = SignalRouter()
    numbers = [number for number in sorted(_ROUTED) if signal.getsignal(number) is not signal.SIG_IGN]
    with trio.open_signal_receiver(*numbers) as arriving:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                async for number in arriving:
                    router.route(signal.Signals(number))

            nursery.start_soon(listen)
            try:
                yield router
            finally:
                nursery.cancel_scope.cancel()
