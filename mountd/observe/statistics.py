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
    disk_hits: int = 0
    """Fetches answered by the disk tier."""
    disk_misses: int = 0
    disk_bytes_hit: int = 0
    disk_bytes_kept: int = 0
    """Bytes written to the disk tier by this mount."""
    disk_bytes_dropped: int = 0
    """Bytes that were not kept: the disk was full, slow or in trouble."""
    disk_evictions: int = 0
    """Objects that this mount removed to make room."""
    disk_errors: int = 0
    disk_corrupt: int = 0
    """Checksums that did not match; the bytes were fetched again."""
    disk_used: int = 0
    """Bytes that the node's disk cache takes now, all mounts together."""
    disk_limit: int = 0
    """Bytes that it may take now: by its ceiling, and by what the disk has free; 0: no disk tier."""
    disk_objects: int = 0
    disk_pinned: int = 0
    """Bytes of pinned objects."""
    fill_state: str = ""
    """counting, downloading, complete, streaming (it does not fit), failed, or nothing: no fill was asked for."""
    fill_note: str = ""
    """Why it is not complete."""
    fill_bytes: int = 0
    """Bytes of what is to be filled that are on disk."""
    fill_bytes_total: int = 0
    fill_files: int = 0
    fill_files_total: int = 0
    waiting_for: list[str] = []
    """What takes long right now, slowest first: operation, name, seconds."""
