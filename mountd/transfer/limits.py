"""How much a transfer does at once, and how long it insists."""

from dataclasses import dataclass

from mountd.units import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """Never tied to the number of cores: a small file is a wait of one request's time, and waits cost nothing."""

    files: int = 256
    """Files in flight."""
    large_files: int = 16
    """Files of more than one range in flight; few, so that an interruption leaves few parts."""
    ranges_per_file: int = 64
    range_bytes: int = 8 * MIB
    """Also the largest file that is moved in one request."""
    memory_bytes: int = 256 * MIB
    """Ceiling of the bytes in flight: asked for, or received and not yet passed on."""
    disk_threads: int = 32
    restarts: int = 5
    """How often a file is begun anew because it changed under way."""
    failures_in_a_row: int = 16
    """So many files refused or unanswered by the store with none between that went well, and the run ends: the store is
    gone or the credential is, and the other million files would fail the same way."""

    def __post_init__(self) -> None:
        if self.memory_bytes < self.range_bytes:
            raise ValueError("the memory limit must hold one range")
