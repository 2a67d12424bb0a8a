"""Bytes in memory: extents by object version, one budget, read-ahead."""
