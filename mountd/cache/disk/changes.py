"""What the journal says: every change to the index, in order. Digests are 16 bytes, sizes and disk bytes.

Each is applied by every process to its own copy of the index (`state.State`), so all have the same.
"""

import msgspec


class Change(msgspec.Struct, array_like=True, frozen=True):
    """What every change has: a tag, and its fields by position."""


class Begin(Change, frozen=True, tag=0):
    """The first of a journal; said again when an empty cache finds more room than it has known."""

    first_free: int
    """Bytes that the disk had free when the cache was made, or later when nothing was in it: the most there were."""
    most_objects: int
    next_owner: int
    boot: str
    """The start of the machine since which files and index were compared; empty: they are still to be."""
    inherits: bool
    """There are files of an earlier index."""


class Objects(Change, frozen=True, tag=1):
    """A part of what an earlier journal knew: pairs of digest and entry, least recently used first."""

    objects: list[tuple[bytes, bytes]]


class Join(Change, frozen=True, tag=2):
    """A process begins to use the cache, or has got another ceiling: then its `Hold`s are said again as well."""

    owner: int
    name: str
    """Of its locked file."""
    ceiling: int
    reserve: int
    wanted: int = 0
    what: bytes = b""
    filling: bool = False
    """These three as in `Want`."""


class Leave(Change, frozen=True, tag=3):
    """A process has ended, and what it had reserved is given back."""

    owner: int


class Want(Change, frozen=True, tag=4):
    """A process says how many bytes of disk it keeps filled, or is about to fill."""

    owner: int
    wanted: int
    what: bytes
    """Equal for processes that want the same."""
    filling: bool
    """It is bringing them now."""


class Hold(Change, frozen=True, tag=5):
    """A process is about to write to an object, or has it open for longer; until it says more, the object stays."""

    owner: int
    digest: bytes
    size: int
    reserved: int
    new: bool
    """A file is to be made for it."""
    pinned: bool = False


class Keep(Change, frozen=True, tag=6):
    """Bytes are in the file: the end of a `Hold`."""

    owner: int
    digest: bytes
    reserved: int
    new: bool
    disk: int
    """What the file takes now."""
    runs: bytes
    """See `entry.packed`."""


class Release(Change, frozen=True, tag=7):
    """A write came to nothing, or an object is not open any more: the end of a `Hold`."""

    owner: int
    digest: bytes
    reserved: int
    new: bool


class Drop(Change, frozen=True, tag=8):
    """Objects are gone; their files went before."""

    digests: list[bytes]


class Forget(Change, frozen=True, tag=9):
    """A run's bytes are not what was written."""

    digest: bytes
    run: bytes


class Use(Change, frozen=True, tag=10):
    """Objects were read."""

    digests: list[bytes]


class Pin(Change, frozen=True, tag=11):
    """Objects stay until the cache is cleared."""

    digests: list[bytes]


class Measure(Change, frozen=True, tag=12):
    """What the files of objects take: pairs of digest and bytes of disk."""

    measured: list[tuple[bytes, int]]


class Compared(Change, frozen=True, tag=13):
    """Files and index were compared."""

    boot: str
    """Empty: they are to be compared again."""
    freed: int
    """Bytes of disk of the files that were removed."""


AnyChange = (
    Begin | Objects | Join | Leave | Want | Hold | Keep | Release | Drop | Forget | Use | Pin | Measure | Compared
)
