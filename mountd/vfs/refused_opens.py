"""Files that could not be opened in the version that was asked for, by who asked.

The kernel looks such a name up again, in the same system call of the same thread: that lookup has to find a version
that this thread can open, and promises it. Whose thread is in another PID namespace than the mount, a container of its
own, is caller 0 here, like all others there. Those are told apart by the name only: as long as one of them is about to
open it, every lookup of it makes a promise, so that nobody uses up another's.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from mountd.tree.inodes import FileNode

MOST = 10_000
"""More threads than this do not look up again at the same moment."""
MOST_PROMISES = 1000
"""Of one name."""
PROMISE_S = 10.0
"""How long it is kept for nobody: an open follows its lookup at once, a lookup that was for a `stat` is followed by
none. A thread is known to have opened nothing since, however long it was stopped."""
NOBODY = 0
"""The number of a thread that has none here."""
FORGOTTEN_S = 120.0
"""A thread that was killed in between never opens what it was promised: when its name is an ordinary one again."""


class RefusedOpen:
    """A name whose open was refused: a thread's until it opens something, nobody's until all promises are kept."""

    __slots__ = ("_looking", "_promise_s", "_promised", "_refused", "name", "parent", "until")

    def __init__(self, parent: int, name: bytes, promise_s: float) -> None:
        self._promise_s = promise_s
        self.parent = parent
        self.name = name
        self.until = 0.0
        """When it is forgotten, on the loop's clock."""
        self._refused = 0
        """Those whose lookup is yet to come."""
        self._looking = 0
        self._promised: list[tuple[FileNode, float]] = []
        """With the time, on the loop's clock, until which each is kept."""

    def add(self) -> None:
        """One more was refused."""
        self._refused += 1
        self.until = trio.current_time() + FORGOTTEN_S

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Whoever was refused, or comes meanwhile, looks the name up again."""
        self._refused = max(0, self._refused - 1)
        self._looking += 1
        try:
            yield
        finally:
            self._looking -= 1

    def promise(self, node: FileNode) -> None:
        """Whoever asks next for `node` opens it, whatever has become of it meanwhile: its first bytes are fetched."""
        self._promised.append((node, trio.current_time() + self._promise_s))
        del self._promised[:-MOST_PROMISES]

    def redeem(self, node: FileNode) -> bool:
        """Return whether `node` was promised, and take that as done."""
        for promise in self._kept():
            if promise[0] is node:
                self._promised.remove(promise)
                return True
        return False

    def _kept(self) -> list[tuple[FileNode, float]]:
        now = trio.current_time()
        self._promised = [promise for promise in self._promised if promise[1] >= now]
        return self._promised

    @property
    def over(self) -> bool:
        """Whether nobody is known to be about to open it."""
        return not (self._refused or self._looking or self._kept()) or trio.current_time() > self.until


class RefusedOpens:
    """Of one mount."""

    def __init__(self) -> None:
        self._by_key: dict[int | tuple[int, bytes], RefusedOpen] = {}

    def __contains__(self, asking: tuple[int, FileNode]) -> bool:
        """Whether an open of this node by this thread has to look here: something was refused before."""
        return _key(*asking) in self._by_key

    def note(self, caller: int, node: FileNode) -> None:
        """`node` could not be opened for this thread."""
        key = _key(caller, node)
        refused = self._by_key.get(key) if caller == NOBODY else None
        if refused is None:
            if len(self._by_key) >= MOST:
                self._by_key.clear()  # of threads that have ended in between
            promise_s = PROMISE_S if caller == NOBODY else math.inf
            refused = self._by_key[key] = RefusedOpen(node.parent.ino, node.name, promise_s)
        refused.add()

    def of(self, caller: int, parent: int, name: bytes) -> RefusedOpen | None:
        """Return the refused open of this thread, if it was of this name in the directory `parent`."""
        key = (parent, name) if caller == NOBODY else caller
        refused = self._by_key.get(key)
        if refused is None or (refused.parent, refused.name) != (parent, name):
            return None
        if caller == NOBODY and refused.over:
            del self._by_key[key]
            return None
        return refused

    def take(self, caller: int, node: FileNode) -> bool:
        """This thread opens `node`: return whether that was promised."""
        key = _key(caller, node)
        refused = self._by_key.get(key)
        if refused is None:
            return False
        promised = refused.redeem(node)
        if caller != NOBODY or refused.over:
            del self._by_key[key]
        return promised


def _key(caller: int, node: FileNode) -> int | tuple[int, bytes]:
    return (node.parent.ino, node.name) if caller == NOBODY else caller
