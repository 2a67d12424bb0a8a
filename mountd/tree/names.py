"""How keys become file names and back. Pure.

Names are `bytes` towards the kernel and keys are `str` towards a store; bytes that are not UTF-8 survive as surrogates.
A name that no POSIX path can express (empty, `.`, `..`, over 255 bytes, with a NUL) is never shown.
"""

from mountd.errors import NameTooLongError, NotFoundError

LONGEST_NAME = 255
"""Bytes; Linux's NAME_MAX."""


def encode(name: str) -> bytes:
    """Return a key's part as the kernel's name."""
    return name.encode("utf-8", "surrogateescape")


def decode(name: bytes) -> str:
    """Return the kernel's name as a key's part."""
    return name.decode("utf-8", "surrogateescape")


def expressible(name: bytes) -> bool:
    """Whether a directory entry can have this name."""
    return 0 < len(name) <= LONGEST_NAME and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


def check(name: bytes) -> None:
    """Refuse a name that cannot be in any listing.

    Raises:
        NameTooLongError: more than 255 bytes.
        NotFoundError: no entry can have it.
    """
    if len(name) > LONGEST_NAME:
        raise NameTooLongError(f"a name of {len(name)} bytes is longer than {LONGEST_NAME}")
    if not expressible(name):
        raise NotFoundError(f"{decode(name)!r}: no object can have this name")


def child_key(directory: str, name: str) -> str:
    """Return the key of `name` in `directory` ("" is the root)."""
    return f"{directory}/{name}" if directory else name
