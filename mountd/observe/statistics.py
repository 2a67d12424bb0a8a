"""What one mount says about itself: the record behind `mountd status` and, later, the metrics page."""

import msgspec


class FillStatus(msgspec.Struct, kw_only=True):
    """How far something is that is brought to disk ahead of its readers."""

    ticket: str = ""
    """Who asked for it."""
    state: str = ""
    """counting, waiting (another mount brings the same), downloading, complete, streaming (it does not fit), failed."""
    note: str = ""
    """Why it is not complete."""
    bytes: int = 0
    """What of it is on disk."""
    bytes_total: int = 0
    files: int = 0
    files_total: int = 0


class Refusal(msgspec.Struct, kw_only=True):
    """A file that a reader got an error for."""

    path: str
    """In the mount."""
    why: str
    """One line, without secrets."""
    changed: bool = False
    """Its version is gone from the store: replaced or deleted."""


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
    passthrough_handles: int = 0
    """Of them, those whose reads the kernel answers itself from the disk cache."""
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
    fill: FillStatus | None = None
    """Of all there is, or of the latest directory in use; None: nothing is brought to disk by itself."""
    prefetches: list[FillStatus] = []
    """What users asked for, the oldest first; the last few."""
    waiting_for: list[str] = []
    """What takes long right now, slowest first: operation, name, seconds."""
    refused: list[Refusal] = []
    """The last few files that readers got errors for, the latest first."""
