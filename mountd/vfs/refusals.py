"""The files that a mount's readers got errors for, and why: for whoever wonders later why a program failed.

The last few files, each once: one trouble of a store shows at many. What a file system says every day (no such name,
a directory) is no refusal.
"""

from mountd.errors import ChangedError, MountdError, NotFoundError, StaleHandleError
from mountd.observe.statistics import Refusal
from mountd.tree.inodes import DirectoryNode

MOST = 8
"""As many are remembered."""


class Refusals:
    """Of one mount."""

    def __init__(self) -> None:
        self._by_path: dict[str, Refusal] = {}

    def note(self, directory: DirectoryNode, name: bytes, error: MountdError) -> None:
        """Remember that who wanted `name` in `directory` got `error`."""
        path = _path(directory, name)
        cause = error.__cause__ if isinstance(error.__cause__, MountdError) else error
        changed = isinstance(error, ChangedError | NotFoundError | StaleHandleError)
        before = self._by_path.pop(path, None)
        if before is not None and before.changed and changed and cause is error:
            self._by_path[path] = before  # later opens are refused without asking the store, and know no reason
        else:
            self._by_path[path] = Refusal(path=path, why=cause.text, changed=changed)
        if len(self._by_path) > MOST:
            del self._by_path[next(iter(self._by_path))]

    def latest_first(self) -> list[Refusal]:
        """Return what is remembered."""
        return list(reversed(self._by_path.values()))


def _path(directory: DirectoryNode, name: bytes) -> str:
    """Return the path in the mount, printable anywhere."""
    parts = [name]
    while directory.parent is not None:
        parts.append(directory.name)
        directory = directory.parent
    return b"/".join(reversed(parts)).decode("utf-8", "backslashreplace")
