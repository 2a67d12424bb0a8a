"""Which directories of a bare datastore are in real use: those in which three different files were missed. Pure.

Somebody's `ls` does not download a container, and neither does a look at a file or two.
"""

from collections.abc import Callable

FILES_IN_USE = 3
"""Different files of one directory that make it one in use."""
MOST_WATCHED = 10_000
"""Directories that are watched at once."""
TRIED_AGAIN_S = 600.0
"""How long a directory is left alone that did not fit or could not be brought."""


class DirectoriesInUse:
    """Counts the files that readers missed, by directory.

    Args:
        clock: returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._missed: dict[str, set[str]] = {}
        self._left_alone: dict[str, float] = {}

    def missed(self, key: str) -> str | None:
        """Take note of a file that was not on disk; return its directory if that is to be brought now."""
        directory = key.rpartition("/")[0]
        if self._left_alone.get(directory, 0.0) > self._clock():
            return None
        if len(self._missed) >= MOST_WATCHED and directory not in self._missed:
            self._missed.clear()
        seen = self._missed.setdefault(directory, set())
        seen.add(key)
        if len(seen) < FILES_IN_USE:
            return None
        del self._missed[directory]
        self.leave_alone(directory)
        return directory

    def leave_alone(self, directory: str) -> None:
        """Do not name a directory again for a while."""
        if len(self._left_alone) >= MOST_WATCHED:
            self._left_alone.clear()
        self._left_alone[directory] = self._clock() + TRIED_AGAIN_S
