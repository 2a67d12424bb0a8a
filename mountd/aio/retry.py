"""Retries with back-off under one deadline: the only place of the project that tries a request again.

A try that raises a retryable `MountdError` is repeated after a pause that doubles up to a ceiling and is spread at
random over the upper half of it, never shorter than what the store asked for, until the deadline for all tries
together is over. Where nothing ever answered and connections are refused, or there is no such name, a mistake in the
address is likelier than an outage: whoever asks first may give that up sooner. So it is where nothing ever made sense:
`NONSENSE_TRIES` such answers in a row are the end, whoever asks. Who was met before, or made sense, is waited for.
"""

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from mountd.errors import DeadlineError, MountdError, NonsenseError, UnavailableError, UnreachableError

T = TypeVar("T")

UNREACHED_S = 10.0
"""Long enough for a server that is being started. A machine without network or name server gets the whole deadline:
there nothing is refused, and no name denied."""
NONSENSE_TRIES = 6
"""They take 3 s at most: a proxy may talk nonsense for a moment while it is set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long and how often to try."""

    deadline_s: float = 60.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 8.0
    unreached_s: float = math.inf
    """A shorter deadline for where no connection ever came about; `UNREACHED_S` where a person waits for the answer."""

    def pause_s(self, failures: int, error: MountdError, draw: float) -> float:
        """Return the pause after the `failures`-th failure; `draw` is uniform in [0, 1)."""
        ceiling = min(self.longest_pause_s, self.first_pause_s * 2 ** min(failures - 1, 30))
        asked = getattr(error, "retry_after_s", None) or 0.0
        return float(max(asked, ceiling * (0.5 + draw / 2)))


async def retrying(
    attempt: Callable[[], Awaitable[T]],
    *,
    what: str,
    policy: RetryPolicy,
    on_retry: Callable[[MountdError, float], None] | None = None,
    was_well: Callable[[MountdError], bool] = lambda _: True,
) -> T:
    """Return the result of the first `attempt` that does not fail in a retryable way.

    Args:
        attempt: makes one try.
        what: names the request in the error, without secrets.
        policy: pauses and deadline.
        on_retry: told about each failure that is tried again and the pause before it.
        was_well: whether the failure can only be an outage; asked after an `UnreachableError` (was the other side ever
            met?) and a `NonsenseError` (did it ever make sense?).

    Raises:
        DeadlineError: the deadline is over, or the answers are nonsense; the last failure is its cause.
        MountdError: whatever a try raised that is not worth another.
    """
    began = trio.current_time()
    deadline = began + policy.deadline_s
    failures = nonsense = 0
    last: MountdError | None = None
    while True:
        try:
            with trio.move_on_at(deadline):
                return await attempt()
        except MountdError as error:
            if not error.retryable:
                raise
            last = error
        else:  # neither a result nor a failure: the deadline cut it off
            cause = last or UnavailableError("no answer")
            raise DeadlineError(f"{what}: gave up after {policy.deadline_s:g} s: {cause.message}") from last
        failures += 1
        pause = policy.pause_s(failures, last, random.random())  # noqa: S311 - jitter, not a secret
        until = deadline
        if isinstance(last, UnreachableError) and not was_well(last):
            until = min(deadline, began + policy.unreached_s)
        nonsense = nonsense + 1 if isinstance(last, NonsenseError) and not was_well(last) else 0
        if trio.current_time() + pause >= until or nonsense == NONSENSE_TRIES:
            raise DeadlineError(f"{what}: gave up after {failures} tries: {last.message}") from last
        if on_retry is not None:
            on_retry(last, pause)
        await trio.sleep(pause)
