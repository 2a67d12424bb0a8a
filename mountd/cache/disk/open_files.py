"""Objects whose files this process has open for longer, and who knows of it.

They stay: this process takes none of them away from the first moment on, the others once the journal says that they are
held, as what is being written is. A process that dies holds nothing any more.
"""

from collections.abc import Container

from mountd.cache.disk.changes import AnyChange, Hold, Release
from mountd.cache.disk.state import to_bytes


class OpenFiles:
    """Those of one process.

    Only `now` is used by two threads, and it is replaced, never changed.
    """

    def __init__(self) -> None:
        self.now: frozenset[int] = frozenset()
        self._known: frozenset[int] = frozenset()
        """Of which the journal says so."""

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
