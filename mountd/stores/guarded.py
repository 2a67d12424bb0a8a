"""A store that tries again, keeps a deadline, counts, and believes nothing unchecked.

Wraps any store. Each call has one deadline for all its tries together, which counts from its last progress; of a slow
link each call under way owes its share (`aio.progress`). The inner store never tries twice. Answers are
checked against what was asked: bytes missing are a `CorruptError` (and tried again), bytes of another version a
`ChangedError`, so that whoever reads above may rely on the rules of `stores.base`.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import trio

from mountd.aio.progress import Progress, current, share_of
from mountd.aio.retry import RetryPolicy, retrying
from mountd.aio.shortest import ShortestLately
from mountd.errors import (
    ChangedError,
    CorruptError,
    ExistsError,
    MountdError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
)
from mountd.stores.base import (
    Capabilities,
    Chunk,
    Missed,
    ObjectInfo,
    Page,
    PagesAhead,
    QuickReads,
    ReadDone,
    Store,
    Upload,
)
from mountd.units import ETag

T = TypeVar("T")

SLOW_AFTER_S = 1.0
"""A call that runs for longer is worth a line in `mountd status`."""
TELL_AFTER_S = 5.0
"""A call that fails for longer is worth a warning; where nothing ever answered, it is at once."""
TELL_EVERY_S = 30.0
"""One warning of a store in this time: they are many calls and one trouble."""

_log = logging.getLogger(__name__)  # not a program's logger: scripts that use the Python API see the warning as well


class InFlight(NamedTuple):
    """A call that has not returned yet."""

    operation: str
    name: str
    seconds: float
    """Since the call began, tries and pauses included."""
    tries: int


class _Running:
    __slots__ = ("name", "operation", "progress", "started", "tries")

    def __init__(self, operation: str, name: str) -> None:
        self.operation = operation
        self.name = name
        self.started = trio.current_time()
        self.progress: Progress | None = None
        self.tries = 0


class _Call(NamedTuple):
    """A call whose first try came to nothing."""

    running: _Running
    missed: Missed


class _Begun:
    """Calls for whoever goes on with them; that is at once, or never."""

    MOST = 1000

    def __init__(self) -> None:
        self._calls: dict[tuple[str, int, int], tuple[_Call, float]] = {}

    def leave(self, what: tuple[str, int, int], call: _Call) -> None:
        """Somebody will go on with `call`."""
        if len(self._calls) >= self.MOST:
            self._calls.clear()
        self._calls[what] = (call, trio.current_time())

    def take(self, what: tuple[str, int, int]) -> _Call | None:
        """Return the call that is to be gone on with."""
        if not self._calls:
            return None
        call, left_at = self._calls.pop(what, (None, 0.0))
        return call if trio.current_time() - left_at < SLOW_AFTER_S else None


class GuardedStore:
    """Deadlines, retries, checks and counters around `inner`.

    Args:
        inner: the store that is asked.
        policy: pauses between tries, and the deadline of each call.
    """

    def __init__(self, inner: Store, policy: RetryPolicy) -> None:
        self._inner = inner
        self._quick = inner if isinstance(inner, QuickReads) else None
        self._ahead = inner if isinstance(inner, PagesAhead) else None
        self._policy = policy
        self._running: set[_Running] = set()
        self._begun = _Begun()
        self._listeners: list[Callable[[], None]] = []
        self._reached = False
        """Something ever answered."""
        self._understood = False
        """An answer ever made sense."""
        self._quiet_until = 0.0
        self.calls: Counter[str] = Counter()
        """Calls by operation, each counted once however often it was tried."""
        self.requests = 0
        """Tries of calls, first and later ones. A call may cost an inner store more than one request."""
        self.retries = 0
        """Tries after the first."""
        self.errors = 0
        """Calls that failed for good, answers like "there is none" not included."""
        self.bytes_read = 0
        self.shortest_read = ShortestLately()
        self.bytes_written = 0

    def within(self, policy: RetryPolicy) -> "GuardedStore":
        """Return the same inner store under another policy, with counters of its own."""
        return GuardedStore(self._inner, policy)

    @property
    def inner(self) -> Store:
        """The store that is asked."""
        return self._inner

    @property
    def name(self) -> str:
        """What the store is, for people."""
        return self._inner.name

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        return self._inner.capabilities

    def on_progress(self, listener: Callable[[], None]) -> None:
        """Have `listener` told, in the loop, about progress of calls that take long; not about every piece of it."""
        self._listeners.append(listener)

    def in_flight(self) -> list[InFlight]:
        """Return the calls that run now, slowest first."""
        now = trio.current_time()
        running = sorted(self._running, key=lambda call: call.started)
        return [InFlight(call.operation, call.name, now - call.started, call.tries) for call in running]

    def slow_now(self) -> list[str]:
        """Return a line for each call that runs for longer than `SLOW_AFTER_S`, slowest first."""
        return [
            f"{call.operation} {call.name or '/'} for {call.seconds:.1f} s"
            + (f", try {call.tries}" if call.tries > 1 else "")
            for call in self.in_flight()
            if call.seconds >= SLOW_AFTER_S
        ]

    # ---- the protocol

    async def list_page(self, directory: str, marker: str | None = None, *, limit: int | None = None) -> Page:
        """Return a page of the direct children of `directory`."""
        return await self.call("list", directory, lambda: self._inner.list_page(directory, marker, limit=limit))

    async def walk_page(self, directory: str, marker: str | None = None) -> Page:
        """Return a page of everything below `directory`."""
        return await self.call("list", directory, lambda: self._inner.walk_page(directory, marker))

    async def page_ahead(
        self, directory: str, marker: str | None, *, deep: bool, following: Callable[[str], None]
    ) -> Page:
        """Return a page of `directory`; `following` may be told what follows it, where the inner store can."""
        ahead = self._ahead
        if ahead is None:
            return await (self.walk_page if deep else self.list_page)(directory, marker)
        return await self.call(
            "list", directory, lambda: ahead.page_ahead(directory, marker, deep=deep, following=following)
        )

    async def stat(self, key: str) -> ObjectInfo:
        """Return the current version of the object `key`."""
        return await self.call("stat", key, lambda: self._inner.stat(key))

    async def is_directory(self, key: str) -> bool:
        """Whether anything lies below `key`."""
        return await self.call("list", key, lambda: self._inner.is_directory(key))

    async def read(self, key: str, start: int, length: int, *, if_match: ETag | None) -> Chunk:
        """Return the bytes [start, start + length) of `key`."""

        async def attempt() -> Chunk:
            began = trio.current_time()
            chunk = await self._inner.read(key, start, length, if_match=if_match)
            self.shortest_read.note(trio.current_time() - began)
            expected = max(0, min(length, chunk.size - start))
            if chunk.data.nbytes != expected:
                raise CorruptError(
                    f"read {self.name}/{key}: {chunk.data.nbytes} bytes came, not the {expected} at {start}; "
                    "the connection or a proxy cut the answer"
                )
            if if_match is not None and chunk.etag != if_match:
                raise ChangedError(f"read {self.name}/{key}: the store answered with another version than asked for")
            return chunk

        chunk = await self.call("read", key, attempt, begun=self._begun.take((key, start, length)))
        self.bytes_read += chunk.data.nbytes
        return chunk

    def begin_read(self, key: str, start: int, length: int, *, if_match: ETag | None, done: ReadDone) -> bool:
        """Start the first try of a `read` without a task; False: not now.

        Checked and counted as there. What it does not bring is for `read`, which goes on with the same call.
        """
        if self._quick is None:
            return False
        running = _Running("read", key)

        def came(chunk: Chunk | Missed) -> None:
            self._running.discard(running)
            if isinstance(chunk, Chunk) and (
                chunk.data.nbytes != max(0, min(length, chunk.size - start))
                or (if_match is not None and chunk.etag != if_match)
            ):
                chunk = Missed(trio.current_time())
            if isinstance(chunk, Missed):
                self._begun.leave((key, start, length), _Call(running, chunk))
            else:
                self._reached = self._understood = True
                self.shortest_read.note(trio.current_time() - running.started)
                self.bytes_read += chunk.data.nbytes
            done(chunk)

        if not self._quick.begin_read(key, start, length, if_match=if_match, done=came):
            return False
        self.calls["read"] += 1
        self.requests += 1
        running.tries = 1
        self._running.add(running)
        return True

    async def serve(self, moved: Callable[[], None] = lambda: None) -> None:
        """Call back those who began to read, until cancelled."""

        def got_on() -> None:
            self._got_on()
            moved()

        if self._quick is not None:
            await self._quick.serve(got_on)

    async def put(self, key: str, data: memoryview, *, overwrite: bool = True) -> ObjectInfo:
        """Write a whole small object at once."""
        unsure = False  # a try failed after it may have written

        async def attempt() -> ObjectInfo:
            nonlocal unsure
            try:
                return await self._inner.put(key, data, overwrite=overwrite)
            except ExistsError:
                written = await self._same(key, data) if unsure else None
                if written is None:
                    raise
                return written
            except (UnavailableError, CorruptError):
                unsure = True
                raise

        info = await self.call("write", key, attempt)
        self.bytes_written += data.nbytes
        return info

    async def begin_upload(self, key: str, size: int, *, overwrite: bool = True) -> Upload:
        """Start writing an object in parts."""
        upload = await self.call("write", key, lambda: self._inner.begin_upload(key, size, overwrite=overwrite))
        return _GuardedUpload(self, key, upload)

    async def aclose(self) -> None:
        """Close the inner store."""
        await self._inner.aclose()

    # ---- inside

    async def _same(self, key: str, data: memoryview) -> ObjectInfo | None:
        """Return the version of `key` if it holds `data`: an earlier try wrote it, and only its answer was lost."""
        info = await self._inner.stat(key)
        if info.size != data.nbytes:
            return None
        chunk = await self._inner.read(key, 0, info.size, if_match=info.etag)
        return info if chunk.data == data else None

    async def call(
        self, operation: str, name: str, attempt: Callable[[], Awaitable[T]], *, begun: "_Call | None" = None
    ) -> T:
        """Run `attempt` under the policy, counted and shown as `operation` on `name`; or go on with a call's next."""
        asks = operation != "list" or self.capabilities.lists_by_asking
        if begun is None:
            self.calls[operation] += 1
        running = _Running(operation, name) if begun is None else begun.running

        async def counted() -> T:
            running.progress = current()
            running.tries += 1
            self.requests += 1
            if running.tries > 1:
                self.retries += 1
            try:
                outcome = await attempt()
            except MountdError as error:
                self._reached = self._reached or (asks and not isinstance(error, UnreachableError))
                self._understood = self._understood or (asks and _is_an_answer(error))
                raise
            self._reached = self._reached or asks
            self._understood = self._understood or asks
            return outcome

        self._running.add(running)
        try:
            return await retrying(
                counted,
                least=lambda: share_of(len(self._running)),
                on_progress=self._got_on,
                what=f"{operation} {self.name}/{name}",
                policy=self._policy,
                since=None if begun is None else begun.missed.got_on_at,
                failed=None if begun is None else begun.missed.failure,
                on_retry=lambda error, _: self._tell(running, error),
                was_well=lambda error: self._reached if isinstance(error, UnreachableError) else self._understood,
            )
        except MountdError as error:
            if not _is_an_answer(error):
                self.errors += 1
            raise
        finally:
            self._running.discard(running)

    def _got_on(self) -> None:
        """A call that takes long made progress."""
        for running in self._running:
            if running.progress is not None and running.progress.waits:
                running.progress.renew()  # it waits for a place that these hold
        for listener in self._listeners:
            listener()

    def _tell(self, running: _Running, error: MountdError) -> None:
        """Warn of a call that is tried again, early enough for whoever waits to see that an address is wrong."""
        now = trio.current_time()
        if now < self._quiet_until or (self._reached and now - running.started < TELL_AFTER_S):
            return
        self._quiet_until = now + TELL_EVERY_S
        _log.warning("%s; trying again", error.message)


def _is_an_answer(error: MountdError) -> bool:
    """Tell a plain "no" of the store from a failure."""
    return isinstance(error, NotFoundError | ExistsError | ChangedError)


class _GuardedUpload:
    """An upload whose steps are tried again like every other call."""

    def __init__(self, store: GuardedStore, key: str, inner: Upload) -> None:
        self._store = store
        self._key = key
        self._inner = inner

    @property
    def part_bytes(self) -> int:
        """The length of every part but the last."""
        return self._inner.part_bytes

    async def part(self, offset: int, data: memoryview) -> None:
        """Send `data`, the bytes from `offset` on."""
        await self._store.call("write", self._key, lambda: self._inner.part(offset, data))
        self._store.bytes_written += data.nbytes

    async def commit(self, size: int) -> ObjectInfo:
        """Publish the object."""
        return await self._store.call("write", self._key, lambda: self._inner.commit(size))

    async def abort(self) -> None:
        """Forget what was sent."""
        await self._inner.abort()
