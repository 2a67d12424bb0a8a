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

FetchDone = Callable[[memoryview | None], None]
"""Takes what came; None: `Fetch` will say why it did not, or bring it."""
BeginFetch = Callable[[ObjectVersion, ByteRange, FetchDone], bool]
"""Starts the same without a task for it; False: not now. It calls back later, in the loop, once; or never, at the end
of the mount."""


def never(_version: ObjectVersion, _wanted: ByteRange, _done: FetchDone) -> bool:
    """Refuse: fetch in the ordinary way."""
    return False
