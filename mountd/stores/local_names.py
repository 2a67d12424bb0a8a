"""Keys of a local directory tree: which ones can exist, and the paths they stand for.

Names are bytes to the kernel. A key holds them as UTF-8, whatever the locale, and bytes that are not UTF-8 as
surrogates ("surrogateescape"). Files of unfinished uploads carry `UPLOAD_PREFIX` and cannot be named by a key.
"""

UPLOAD_PREFIX = b".mountd-upload-"


def path_of(root: bytes, key: str) -> bytes | None:
    """Return the path of `key` below `root`, or None if no file can have this key. "" is the root itself."""
    if not key:
        return root
    try:
        name = key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    for segment in name.split(b"/"):
        if segment in {b"", b".", b".."} or segment.startswith(UPLOAD_PREFIX):
            return None
    return None if b"\0" in name else root + b"/" + name


def key_of(name: bytes) -> str:
    """Return the key for a path relative to the root."""
    return name.decode("utf-8", "surrogateescape")
