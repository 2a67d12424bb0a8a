"""The whole copies that one web store keeps: at most one of each version of a file, bounded together.

What was used last is dropped last; what somebody reads is not dropped, and a copy that finds no room beside those fails
in a way that may be tried again. Blocking calls, for threads only.
"""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from mountd.aio.turn import Turn
from mountd.errors import NoRoomError, UnavailableError
from mountd.stores.web_copy import Body, Copy
from mountd.units import GIB, ETag

MOST_BYTES = 4 * GIB
MOST_COPIES = 64
"""Each may hold a descriptor and a connection; those in memory are together no more than 64 MiB."""


class Copies:
    """The copies of one store.

    Args:
        most_bytes: of all copies together.
        most_copies: how many.
        call_s: how long one call may wait without progress (`aio.progress`).
    """

    def __init__(self, *, most_bytes: int = MOST_BYTES, most_copies: int = MOST_COPIES, call_s: float) -> None:
        self._most_bytes = most_bytes
        self._most_copies = most_copies
        self._call_s = call_s
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ETag], _Kept] = OrderedDict()
        self._bytes = 0
        self._claims: dict[str, _Claim] = {}

    def begin(self, what: str, body: Body, *, size: int | None, most: int | None = None) -> Copy:
        """Return a copy of what `body` is going to give; it belongs to the caller until `keep` takes it.

        Args:
            what: names the file, without secrets.
            body: the answer's body.
            size: in bytes, if it is known.
            most: bytes that the file may have, no more than all copies together.
        """
        most = min(most or self._most_bytes, self._most_bytes)
        return Copy(what, body, size=size, most=most, call_s=self._call_s, charge=self._charge)

    def keep(self, url: str, version: ETag, copy: Copy) -> None:
        """Keep `copy` as that version of `url`, in the place of a broken one; if there is a good one, close `copy`."""
        with self._lock:
            there = self._kept.get((url, version))
            dropped = [copy]
            if there is None or there.copy.is_broken:
                self._kept[url, version] = _Kept(copy)
                dropped = [] if there is None else [there.copy]
            dropped += self._take_idle(max(0, len(self._kept) - self._most_copies))
        for one in dropped:
            one.close()

    @contextlib.contextmanager
    def using(self, url: str, version: ETag) -> Iterator[Copy | None]:
        """Give the copy of that version of `url`, None if there is none; while it is in use it is not dropped."""
        with self._lock:
            kept = self._kept.get((url, version))
            if kept is not None and kept.copy.is_broken:
                del self._kept[url, version]
                kept = None
            if kept is not None:
                self._kept.move_to_end((url, version))
                kept.users += 1
        try:
            yield kept.copy if kept is not None else None
        finally:
            if kept is not None:
                with self._lock:
                    kept.users -= 1

    def size_of(self, url: str, version: ETag) -> int | None:
        """Return the size of that version of `url` in bytes, None if there is no good copy."""
        with self._lock:
            kept = self._kept.get((url, version))
            return None if kept is None or kept.copy.is_broken else kept.copy.size

    @contextlib.contextmanager
    def claim(self, what: str, url: str) -> Iterator[None]:
        """Let one thread at a time make copies of `url`.

        Raises:
            UnavailableError: another one takes too long.
        """
        with self._lock:
            claim = self._claims.setdefault(url, _Claim())
            claim.threads += 1
        try:
            with claim.turn.taken(self._call_s) as mine:
                if not mine:
                    raise UnavailableError(f"{what}: its server sends it only as a whole, which takes long; try again")
                yield
        finally:
            with self._lock:
                claim.threads -= 1
                if claim.threads == 0:
                    del self._claims[url]

    def close(self) -> None:
        """Drop all."""
        with self._lock:
            kept = list(self._kept.values())
            self._kept.clear()
        for one in kept:
            one.copy.close()

    # ---- inside

    def _charge(self, change: int) -> None:
        """Count bytes that a copy is about to keep, or has dropped.

        Raises:
            NoRoomError: what is in use leaves no room for them.
        """
        with self._lock:
            self._bytes += change
        while change > 0 and self._bytes > self._most_bytes:
            with self._lock:
                dropped = self._take_idle(1)
            if not dropped:
                with self._lock:
                    self._bytes -= change
                raise NoRoomError(
                    f"web files that come only as a whole: the {self._most_bytes >> 20} MiB kept for them are in use"
                )
            dropped[0].close()

    def _take_idle(self, number: int) -> list[Copy]:
        """Take out up to `number` copies that nobody uses, least recently used first; the lock is held."""
        idle = [key for key, kept in self._kept.items() if kept.users == 0][:number]
        return [self._kept.pop(key).copy for key in idle]


@dataclass(slots=True)
class _Kept:
    copy: Copy
    users: int = 0


@dataclass(slots=True)
class _Claim:
    turn: Turn = field(default_factory=Turn)
    threads: int = 0
