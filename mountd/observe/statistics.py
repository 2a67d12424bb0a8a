"""What one mount says about itself: the record behind `mountd status` and, later, the metrics page."""

import msgspec


class MountStatistics(msgspec.Struct, kw_only=True):
    """A snapshot; counters grow from the start of the worker."""

    reads: int = 0
    """READ requests answered."""
    bytes_read: int = 0
    """Bytes handed to the kernel."""
    bytes_fetched: int = 0
    """Bytes that came from the store."""
    store_requests: int = 0
    """Requests sent to the store, tries again included."""
    store_retries: int = 0
    store_errors: int = 0
    """Requests that failed for good."""
    cache_hits: int = 0
    """Reads answered from memory without waiting."""
    cache_misses: int = 0
    memory_used: int = 0
    """Bytes charged to the budget now."""
    memory_limit: int = 0
    memory_peak: int = 0
    inodes: int = 0
    open_handles: int = 0
    changed_objects: int = 0
    """Names whose object was seen to be replaced by someone else."""
    handler_errors: int = 0
    """Unexpected exceptions in file-system handlers, answered with EIO."""
    hidden_names: int = 0
    """Objects whose names no POSIX path can express."""
    waiting_for: list[str] = []
    """What takes long right now, slowest first: operation, name, seconds."""
