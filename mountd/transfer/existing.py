"""Which keys a target holds already, for an upload that leaves them alone.

An empty or a small target costs a listing of a page or some; a large one is asked key by key, so that uploading ten
files into a container of millions lists no millions.
"""

from mountd.errors import DeniedError, IsDirectoryError, NotDirectoryError, NotFoundError
from mountd.stores.base import Store

PAGES = 20
"""100,000 keys at 5,000 a page: some 10 MB, and as many requests as twenty files would cost."""


class ExistingKeys:
    """Answers for one directory of a store."""

    def __init__(self, store: Store, known: frozenset[str] | None) -> None:
        self._store = store
        self._known = known

    @classmethod
    async def look(cls, store: Store, directory: str) -> "ExistingKeys":
        """List `directory`, unless it is too large for that."""
        keys: set[str] = set()
        marker: str | None = None
        for _ in range(PAGES):
            try:
                page = await store.walk_page(directory, marker)
            except DeniedError:
                # A credential for writing only: the writes themselves say what exists.
                return cls(store, frozenset())
            keys.update(info.key for info in page.objects)
            marker = page.next
            if marker is None:
                return cls(store, frozenset(keys))
        return cls(store, None)

    async def holds(self, key: str) -> bool:
        """Return whether an object had this key when it was asked or listed."""
        if self._known is not None:
            return key in self._known
        try:
            await self._store.stat(key)
        except (NotFoundError, IsDirectoryError, NotDirectoryError):
            return False
        return True
