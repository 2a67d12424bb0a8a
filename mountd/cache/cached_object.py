"""What the memory tier knows of one object version. Pure bookkeeping: `block_cache` decides what becomes of it."""

from mountd.cache.coverage import Coverage
from mountd.cache.extents import START, Extent, ExtentMap
from mountd.cache.readahead import ReadAhead, WindowLimits
from mountd.cache.version import ObjectVersion


class CachedObject:
    """What is known of the bytes of one version; made by `BlockCache.acquire`."""

    __slots__ = ("_limits", "_readahead", "changed", "early_until", "extents", "fresh", "start", "users", "version")

    def __init__(self, version: ObjectVersion, limits: WindowLimits) -> None:
        self.version = version
        self.extents = ExtentMap()
        self.fresh: dict[Extent, None] = {}
        """Those of them that are held and not spent, in the order of arrival."""
        self._limits = limits
        self._readahead: ReadAhead | None = None
        self.start = Coverage(0, min(version.size, START))
        """What was delivered of its start."""
        self.users = 0
        self.early_until: float | None = None
        """When it is left behind if nobody has acquired it by then; None: somebody has."""
        self.changed = False
        """The store said that this version is gone: only what is held can be read."""

    @property
    def readahead(self) -> ReadAhead:
        """Its streams; made for who needs them first, which of small files nobody does."""
        if self._readahead is None:
            self._readahead = ReadAhead(self.version.size, self._limits)
        return self._readahead
