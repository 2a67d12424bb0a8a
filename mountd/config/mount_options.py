"""The settled options of one mount: what is left when flags, environment, files and defaults were weighed.

A plain value; `config.options` declares each option once and produces this. It travels to the worker as JSON.
"""

import msgspec


class MountOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Every value is settled: no environment is read below this point."""

    mode: str = "auto"
    """auto, stream or download."""
    memory_bytes: int
    """Ceiling of the block cache of this mount."""
    cache_dir: str
    """The node's disk cache."""
    cache_size: str = "80%"
    """Ceiling of the disk cache as written: `10GB`, `80%`, `-20GB`."""
    cache_reserve_bytes: int = 1 << 30
    """Bytes of the disk that the cache never uses."""
    cache_prune_threshold: float = 1.0
    """Part of the ceiling from which on the cache makes room."""
    cache_prune_target: float = 0.95
    """Part of the ceiling that stays in use then."""
    attr_ttl_s: float = 30.0
    """How long attributes, entries, negatives and listings may be used without asking, seconds; 0 asks each time."""
    uid: int
    gid: int
    file_mode: int = 0o644
    dir_mode: int = 0o755
    allow_other: bool = False
    request_deadline_s: float = 60.0
    """A request without progress for this long ends in EIO."""
    fuse_engine: str = "direct"
    """direct or libfuse: who answers the kernel's requests."""
    passthrough: bool = False
    """The kernel reads large files of the disk cache itself."""
