"""Which version of a file an answer holds, as far as its head can tell. Pure.

A version must be told from every other one byte for byte. Three things can, in this order:

1. a strong ETag;
2. `Last-Modified` together with the size (and with a weak ETag, which sees other changes), once the second in which it
   was modified has passed: a file may change many times within one second and keep its date. Beside a weak ETag the
   date must be a minute old, as RFC 9110 advises where nothing is known of the server;
3. the SHA-256 of all bytes, where the head says too little: nobody knows it before the file was read to its end.

The second within which a file was modified also spoils ETags: most servers make theirs of date and size.
"""

import re
from email.message import Message
from email.utils import formatdate, parsedate_to_datetime
from hashlib import sha256
from typing import NamedTuple

from mountd.units import ETag

SETTLED_S = 2
"""Clocks of file systems lag behind those of servers by some milliseconds: one second is not enough."""
SETTLED_IF_WEAK_S = 60

_STRONG = re.compile(r'"[^"]+"')
_BY_DATE = re.compile(r'"(?:weak-[0-9a-f]{16}-)?last-modified-(\d+)-(\d+)"')
_BY_CONTENT = re.compile(r'"sha256-[0-9a-f]{64}"')
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
# The name says that the file is compressed: what is stored is what is wanted, whatever the server calls it.
_STORED = {
    "gzip": (".gz", ".tgz", ".gzip", ".svgz"),
    "x-gzip": (".gz", ".tgz", ".gzip", ".svgz"),
    "br": (".br",),
    "zstd": (".zst", ".tzst"),
    "compress": (".z",),
    "x-compress": (".z",),
    "deflate": (".zz",),
}


class Head(NamedTuple):
    """What the head of an answer says about the file."""

    etag: str | None
    modified_s: int | None
    """Seconds since 1970."""
    date_s: int | None
    """When the server made the answer, by its own clock."""
    encoding: str
    """What has to be undone to get at the file; "" for nothing."""

    @classmethod
    def of(cls, headers: Message, name: str) -> "Head":
        """Read the head of an answer about the file called `name`."""
        encoding = headers.get("Content-Encoding", "").strip().lower()
        if encoding == "identity" or name.lower().endswith(_STORED.get(encoding, ())):
            encoding = ""
        return cls(
            (headers.get("ETag") or "").strip() or None,
            _seconds(headers.get("Last-Modified")),
            _seconds(headers.get("Date")),
            encoding,
        )

    @property
    def is_settled(self) -> bool:
        """Whether a change after this answer would show in the validators."""
        if self.modified_s is None:
            return True
        return self.date_s is None or self.date_s - self.modified_s >= SETTLED_S

    def version(self, size: int | None) -> ETag | None:
        """Return what tells the version from all others, None if the head cannot.

        Args:
            size: of the whole file in bytes, None if it is not known.
        """
        strong = self.etag is not None and _STRONG.fullmatch(self.etag) is not None
        if strong and self.etag is not None:
            return ETag(self.etag) if self.is_settled else None
        if self.modified_s is None or self.date_s is None or size is None:
            return None
        if self.date_s - self.modified_s < (SETTLED_S if self.etag is None else SETTLED_IF_WEAK_S):
            return None
        return self._by_date(size)

    def fits(self, version: ETag, size: int | None) -> bool:
        """Whether the answer may hold `version`, which an earlier head told from all others."""
        return self.etag == version or (size is not None and self._by_date(size) == version)

    def _by_date(self, size: int) -> ETag:
        weak = "" if self.etag is None else f"weak-{sha256(self.etag.encode('utf-8', 'replace')).hexdigest()[:16]}-"
        return ETag(f'"{weak}last-modified-{self.modified_s}-{size}"')

    def is_unchanged(self, other: "Head") -> bool:
        """Whether both describe one version as far as the server can tell; False if it tells nothing."""
        if (self.etag is None and self.modified_s is None) or not (self.is_settled and other.is_settled):
            return False
        return self._replace(date_s=None) == other._replace(date_s=None)


def conditions(etag: ETag) -> dict[str, str]:
    """Return the headers that make a server refuse every version but `etag`, as far as it knows such headers."""
    by_date = _BY_DATE.fullmatch(etag)
    if by_date is not None:
        return {"If-Unmodified-Since": formatdate(int(by_date[1]), usegmt=True)}
    return {"If-Match": etag}


def is_by_content(etag: ETag) -> bool:
    """Whether `etag` is the checksum of a whole file."""
    return _BY_CONTENT.fullmatch(etag) is not None


def by_content(digest: str) -> ETag:
    """Return the version of the file whose SHA-256 is `digest`, in hexadecimal."""
    return ETag(f'"sha256-{digest}"')


def content_range(headers: Message) -> tuple[int, int, int] | None:
    """Return first byte, byte after the last, and size of the whole file, None if `Content-Range` does not say so."""
    found = _CONTENT_RANGE.fullmatch((headers.get("Content-Range") or "").strip())
    if found is None:
        return None
    first, stop, size = int(found[1]), int(found[2]) + 1, int(found[3])
    return (first, stop, size) if first < stop <= size else None


def _seconds(text: str | None) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp()) if text else None
    except (ValueError, OverflowError):
        return None
