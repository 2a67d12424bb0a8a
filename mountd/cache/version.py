"""What bytes are keyed by: one version of one object."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from mountd.units import ByteRange, ETag


class ObjectVersion(NamedTuple):
    """One version of one object; equal versions have equal bytes for ever."""

    key: str
    etag: ETag
    size: int
    """Bytes."""


Fetch = Callable[[ObjectVersion, ByteRange], Awaitable[memoryview]]
"""Returns exactly the bytes of the range from exactly that version, or raises a `MountdError`."""
