"""What a mount says about its disk tier."""

import msgspec
import trio

from mountd.cache.disk.tier import DiskTier
from mountd.modes.fill_progress import FillProgress
from mountd.observe.statistics import MountStatistics
from mountd.units import format_size


def with_tier(statistics: MountStatistics, tier: DiskTier, fill: FillProgress) -> MountStatistics:
    """Return `statistics` with the numbers of the disk tier."""
    counters = tier.counters
    totals = tier.latest_totals
    return msgspec.structs.replace(
        statistics,
        disk_hits=counters.hits,
        disk_misses=counters.misses,
        disk_bytes_hit=counters.bytes_hit,
        disk_bytes_kept=counters.bytes_kept,
        disk_bytes_dropped=counters.bytes_dropped,
        disk_evictions=tier.evicted,
        disk_errors=counters.errors,
        disk_corrupt=tier.corrupt,
        disk_used=0 if totals is None else totals.standing.charged,
        disk_limit=0 if totals is None else totals.standing.most,
        disk_objects=0 if totals is None else totals.objects,
        disk_pinned=0 if totals is None else totals.pinned,
        fill_state=fill.state,
        fill_note=fill.note,
        fill_bytes=fill.size_done,
        fill_bytes_total=fill.size_total,
        fill_files=fill.files_done,
        fill_files_total=fill.files_total,
    )


def describe_tier(tier: DiskTier, fill: FillProgress, *, whole: bool) -> str:
    """Return how the disk tier is doing, in a few words.

    Args:
        tier: the tier.
        fill: the latest fill.
        whole: the fill is of everything there is.
    """
    if tier.in_trouble:
        return "streaming through memory: the cache directory is in trouble, see the log"
    totals = tier.latest_totals
    if whole and (said := fill.describe(trio.current_time())):
        return said
    if totals is None:
        return "streaming through memory and the disk cache"
    used, most = format_size(totals.standing.charged), format_size(totals.standing.most)
    return f"streaming through memory and the disk cache ({used} of {most})"
