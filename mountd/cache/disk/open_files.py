"""Objects whose files this process has open for longer, and who knows of it.

They stay: this process takes none of them away from the first moment on, the others once the journal says that they are
held, as what is being written is. A process that dies holds nothing any more.
"""

import threading
from collections import Counter
from collections.abc import Container

from mountd.cache.disk.changes import AnyChange, Hold, Release
from mountd.cache.disk.state import to_bytes


class OpenFiles:
    """Those of one process.

    To open and to close costs the same however many there are: it is done in the loop, by each `open` of a file. `now`
    is for threads, and rare.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Held for as long as it takes to count, or to copy."""
        self._counts: Counter[int] = Counter()
        self._known: frozenset[int] = frozenset()
        """Of which the journal says so."""

    def opened(self, digest: int) -> bool:
        """Count an object's file as open once more; return whether it was not before."""
        with self._lock:
            self._counts[digest] += 1
            return self._counts[digest] == 1

    def closed(self, digest: int) -> bool:
        """Count it as open once less; return whether it is not any more."""
        with self._lock:
            self._counts[digest] -= 1
            if self._counts[digest] > 0:
                return False
            del self._counts[digest]
            return True

    @property
    def now(self) -> frozenset[int]:
        """What is open."""
        with self._lock:
            return frozenset(self._counts)

    def news(self, owner: int, objects: Container[int]) -> list[AnyChange]:
        """Return what has to be said in the name of `owner`, of the `objects` that there are; it counts as said."""
        now = self.now
        begun = [digest for digest in now - self._known if digest in objects]
        ended = self._known - now
        self._known = (self._known - ended).union(begun)
        changes: list[AnyChange] = [Hold(owner, to_bytes(digest), 0, 0, new=False) for digest in begun]
        return changes + [Release(owner, to_bytes(digest), 0, new=False) for digest in ended]

    def count_known(self) -> int:
        """Return how many of them others know of."""
        return len(self._known)

    def nobody_knows(self) -> None:
        """The process has got another number in the journal, or the journal is another."""
        self._known = frozenset()
