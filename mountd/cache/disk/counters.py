"""What a disk tier counts."""


class TierCounters:
    """Counts since the start."""

    __slots__ = ("bytes_dropped", "bytes_hit", "bytes_kept", "errors", "hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.bytes_hit = 0
        self.bytes_kept = 0
        self.bytes_dropped = 0
        """Not kept: the queue or the disk was full, or the disk in trouble."""
        self.errors = 0
