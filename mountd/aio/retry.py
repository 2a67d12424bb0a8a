"""Retries with back-off under one deadline: the only place of the project that tries a request again.

A try that raises a retryable `MountdError` is repeated after a pause that doubles up to a ceiling and is spread at
random over the upper half of it, never shorter than what the store asked for, until the deadline for all tries
together is over. It counts from the last progress (`aio.progress`): a slow link may take as long as it likes.
Where nothing listens the pauses stay short: a try that is refused costs nobody anything, and who waits for a store that
is restarted goes on as soon as it is back.

Where nothing ever answered and connections are refused, or there is no such name, a mistake in the address is likelier
than an outage: whoever asks first may give that up sooner. So it is where nothing ever made sense: `NONSENSE_TRIES`
such answers in a row are the end, whoever asks. Who was met before, or made sense, is waited for.
"""

import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import trio

from mountd.aio.progress import LEAST, Progress, reset_current, set_current
from mountd.errors import DeadlineError, MountdError, NonsenseError, UnreachableError

T = TypeVar("T")

UNREACHED_S = 10.0
"""Long enough for a server that is being started. A machine without network or name server gets the whole deadline:
there nothing is refused, and no name denied."""
QUIET_PART = 1 / 60
"""Part of a deadline in which progress is told once: putting it off for every piece would cost more than receiving."""
NONSENSE_TRIES = 6
"""They take 3 s at most: a proxy may talk nonsense for a moment while it is set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long and how often to try."""

    deadline_s: float = 60.0
    """Without progress."""
    in_all_s: float = math.inf
    """With or without; for where a person waits for the answer."""
    first_pause_s: float = 0.1
    longest_pause_s: float = 8.0
    unreached_pause_s: float = 1.0
    """The longest after a try that reached nobody."""
    unreached_s: float = math.inf
    """A shorter deadline for where no connection ever came about; `UNREACHED_S` where a person waits for the answer."""

    def pause_s(self, failures: int, error: MountdError, draw: float) -> float:
        """Return the pause after the `failures`-th failure; `draw` is uniform in [0, 1)."""
        longest = self.longest_pause_s
        if isinstance(error, UnreachableError):
            longest = min(longest, self.unreached_pause_s)
        ceiling = min(longest, self.first_pause_s * 2 ** min(failures - 1, 30))
        asked = getattr(error, "retry_after_s", None) or 0.0
        return float(max(asked, ceiling * (0.5 + draw / 2)))


async def retrying(
    attempt: Callable[[], Awaitable[T]],
    *,
    what: str,
    policy: RetryPolicy,
    on_retry: Callable[[MountdError, float], None] | None = None,
    was_well: Callable[[MountdError], bool] = lambda _: True,
    least: Callable[[], int] = lambda: LEAST,
    on_progress: Callable[[], None] = lambda: None,
    since: float | None = None,
    failed: MountdError | None = None,
) -> T:
    """Return the result of the first `attempt` that does not fail in a retryable way.

    Args:
        attempt: makes one try.
        what: names the request in the error, without secrets.
        policy: pauses and deadline.
        on_retry: told about each failure that is tried again and the pause before it.
        was_well: whether the failure can only be an outage; asked after an `UnreachableError` (was the other side ever
            met?) and a `NonsenseError` (did it ever make sense?).
        least: returns how many bytes are progress.
        on_progress: told about progress, in the loop and not for every piece.
        since: when the request began, on the loop's clock; by default now.
        failed: what became of a try before the first one here.

    Raises:
        DeadlineError: the deadline is over, or the answers are nonsense; the last failure is its cause.
        MountdError: whatever a try raised that is not worth another.
    """
    deadline = _Deadline(policy, least, on_progress, since)
    progress = deadline.progress
    failures = nonsense = 0
    last: MountdError | None = None
    token = set_current(progress)
    try:
        while True:
            if failed is None:
                try:
                    with deadline.scope():
                        return await attempt()
                except MountdError as error:
                    if not error.retryable:
                        raise
                    last = error
                else:  # neither a result nor a failure: the deadline cut it off
                    raise deadline.is_over(what, last) from last
            else:
                last, failed = failed, None
            failures += 1
            pause = policy.pause_s(failures, last, random.random())  # noqa: S311 - jitter, not a secret
            until = deadline.at
            if isinstance(last, UnreachableError) and not was_well(last):
                until = min(until, deadline.began + policy.unreached_s)
            nonsense = nonsense + 1 if isinstance(last, NonsenseError) and not was_well(last) else 0
            if trio.current_time() + pause >= until or nonsense == NONSENSE_TRIES:
                raise DeadlineError(f"{what}: gave up after {failures} tries: {last.message}") from last
            if on_retry is not None:
                on_retry(last, pause)
            await trio.sleep(pause)
            progress.try_again()
    finally:
        reset_current(token)
        progress.over = True


class _Deadline:
    """When all tries of a request are over; put off by its progress, which may come in any thread."""

    __slots__ = ("_on_progress", "_policy", "_quiet_s", "_scope", "_token", "began", "progress")

    def __init__(
        self, policy: RetryPolicy, least: Callable[[], int], on_progress: Callable[[], None], since: float | None
    ) -> None:
        self._policy = policy
        self._on_progress = on_progress
        self._quiet_s = policy.deadline_s * QUIET_PART
        self._token = trio.lowlevel.current_trio_token()
        self._scope: trio.CancelScope | None = None
        clock = trio.lowlevel.current_clock().current_time
        self.progress = Progress(clock=clock, least=least, tell=self._tell, quiet_s=self._quiet_s, since=since)
        self.began = self.progress.at

    @property
    def at(self) -> float:
        return min(self.progress.at + self._policy.deadline_s, self.began + self._policy.in_all_s)

    def scope(self) -> trio.CancelScope:
        """Return the scope of the next try."""
        self._scope = trio.CancelScope(deadline=self.at)
        return self._scope

    def is_over(self, what: str, last: MountdError | None) -> DeadlineError:
        deadline_s = min(self._policy.deadline_s, self._policy.in_all_s)
        moved = self.progress.at > self.began
        words = last.message if last else "too little came" if moved else "no answer"
        without = " without progress" if moved and deadline_s == self._policy.deadline_s else ""
        return DeadlineError(f"{what}: gave up after {deadline_s:g} s{without}: {words}")

    def _tell(self) -> None:
        with suppress(trio.RunFinishedError):  # then nobody waits any more
            self._token.run_sync_soon(self._put_off)

    def _put_off(self) -> None:
        if self.progress.over:
            return
        if self._scope is not None:
            # Progress is not told again within the quiet time: what comes in it must not count for less.
            self._scope.deadline = min(self.at + self._quiet_s, self.began + self._policy.in_all_s)
        if not self.progress.waits:  # else it is the others' progress
            self._on_progress()
