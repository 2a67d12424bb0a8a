"""What a mount says about its disk tier."""

import msgspec

from mountd.cache.disk.tier import DiskTier
from mountd.observe.statistics import MountStatistics
from mountd.units import format_size


def with_tier(statistics: MountStatistics, tier: DiskTier) -> MountStatistics:
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
    )


def describe_tier(tier: DiskTier) -> str:
    """Return how the disk tier is doing, in a few words."""
    if tier.in_trouble:
        return "streaming through memory: the cache directory is in trouble, see the log"
    totals = tier.latest_totals
    if totals is None:
        return "streaming through memory and the disk cache"
    used, most = format_size(totals.standing.charged), format_size(totals.standing.most)
    return f"streaming through memory and the disk cache ({used} of {most})"
