"""The service's XML: List Blobs to a page, as fast as Python can, and block lists.

Invariants: an entry that does not lie below the prefix, or a page that is not what it must be, is a `NonsenseError`: a
listing is whole or it is none. Nothing in a page makes the parser read a file, open a connection or expand an entity.
"""

import re
from calendar import timegm
from collections.abc import Iterator
from functools import lru_cache
from time import sleep  # noqa: TID251 - for no time, to give up the interpreter's lock
from urllib.parse import unquote

from lxml import etree

from mountd.errors import NonsenseError
from mountd.stores.azure_place import quoted
from mountd.stores.base import ObjectInfo, Page

_WANTED = ("Content-Length", "Last-Modified", "Etag")
_SHAPE = ("Blob", "Name", "Properties", *_WANTED)
_Row = tuple[str, str | None, str, str]
"""Name and texts of `_WANTED` of one entry; no size: a blob that marks a folder."""
_MISUNDERSTOOD = (etree.XMLSyntaxError, ValueError, KeyError, TypeError, AttributeError)
_PLAIN_MARKER = re.compile(rb"<NextMarker>([!-%'-;=-~]+)</NextMarker>\s*</EnumerationResults>\s*\Z")
"""With characters that stand for themselves in any encoding and in XML."""
_AT_THE_END = 8192
_TURN = 200
"""Entries after which whoever else waits for the interpreter gets it: by itself it changes hands every 5 ms."""
_DATE_LENGTH = len("Wed, 12 Nov 2025 10:00:00 GMT")
_MONTHS = {"JanFebMarAprMayJunJulAugSepOctNovDec"[at : at + 3]: at // 3 + 1 for at in range(0, 36, 3)}


def parse_page(body: bytes, prefix: str, what: str) -> Page:
    """Return the page in `body`, the answer to a List Blobs with `prefix`; `what` names the request in errors."""
    try:
        return _page(_document(body), prefix)
    except _MISUNDERSTOOD as error:
        reason = f"{type(error).__name__}: {error}"
    raise NonsenseError(f"{what}: the listing cannot be understood ({reason[:200]})")


def holds_entries(body: bytes, what: str) -> tuple[bool, str | None]:
    """Return whether the page in `body` has any entry, markers included, and the marker of the page after it."""
    try:
        root = _document(body)
        return len(_entries(root)) > 0, root.findtext("NextMarker") or None
    except _MISUNDERSTOOD as error:
        reason = f"{type(error).__name__}: {error}"
    raise NonsenseError(f"{what}: the listing cannot be understood ({reason[:200]})")


def plain_marker(body: bytes) -> str | None:
    """Return the marker of the page after the one in `body`, found at its end without reading the rest.

    None: there is none, or it is not as plain as the service's are.
    """
    found = _PLAIN_MARKER.search(body, max(0, len(body) - _AT_THE_END))
    return None if found is None else found[1].decode("ascii")


def block_names(body: bytes, what: str) -> list[str]:
    """Return the names of committed blocks in `body`, the answer to a Get Block List."""
    try:
        root = _document(body, "BlockList")
        return [name.text or "" for name in root.findall("CommittedBlocks/Block/Name")]
    except _MISUNDERSTOOD as error:
        reason = f"{type(error).__name__}: {error}"
    raise NonsenseError(f"{what}: the block list cannot be understood ({reason[:200]})")


def _document(body: bytes, kind: str = "EnumerationResults") -> "etree._Element":
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, remove_comments=True, remove_pis=True
    )
    root = etree.fromstring(body, parser)
    if root.tag != kind or root.getroottree().docinfo.internalDTD is not None:
        raise ValueError(f"an unexpected document <{root.tag}>")
    return root


def _entries(root: "etree._Element") -> "etree._Element":
    blobs = root.find("Blobs")
    if blobs is None:
        raise ValueError("no <Blobs>")
    return blobs


def _page(root: "etree._Element", prefix: str) -> Page:
    entries = _entries(root)
    objects: list[ObjectInfo] = []
    directories: dict[str, None] = {}
    alike = _alike(entries)
    for number, (key, size, modified, etag) in enumerate(_one_by_one(entries) if alike is None else alike):
        if number % _TURN == 0:
            sleep(0)
        if not key.startswith(prefix):
            raise ValueError(f"the name {key!r} is not below the prefix {prefix!r}")
        if key.endswith("/"):  # a common prefix or a marker
            if key != prefix:
                directories[key[:-1]] = None
        elif size is None:
            directories[key] = None
        else:
            objects.append(ObjectInfo(key, int(size), http_date_ns(modified), quoted(etag)))
    return Page(objects, list(directories), root.findtext("NextMarker") or None)


def _alike(entries: "etree._Element") -> Iterator[_Row] | None:
    """Return the rows of a page of blobs that all have the same fields in the same order, and none marks a folder.

    Most pages are so, and are read column by column, in half of the time. None: look at them one by one.
    """
    order = [element.tag for element in entries.iter(*_SHAPE)]
    first = order[: len(_SHAPE)]
    if first[:3] != ["Blob", "Name", "Properties"] or sorted(first) != sorted(_SHAPE) or order != first * len(entries):
        return None
    # What stands between an entry's properties and the last of them stands in them as well.
    for tag, above in (("Name", "Blob"), (first[-1], "Properties")):
        if any(_parent(element) != above for element in entries.iter(tag)):
            return None
    # Each column in a walk of its own: lxml makes an object of each element, and uses the same again and again so.
    sizes, dates, etags = ([element.text or "" for element in entries.iter(tag)] for tag in _WANTED)
    may_mark_folders = any(not size.strip("0") for size in sizes)
    if may_mark_folders and any(len(metadata) for metadata in entries.iter("Metadata")):
        return None
    return zip(map(_name, entries.iter("Name")), sizes, dates, etags, strict=True)


def _parent(element: "etree._Element") -> str | None:
    above = element.getparent()
    return None if above is None else above.tag


def _one_by_one(entries: "etree._Element") -> Iterator[_Row]:
    """Yield the row of each entry; common prefixes and markers have a name alone."""
    for element in entries:
        fields = {child.tag: child for child in element}
        key = _name(fields["Name"])
        if key.endswith("/"):
            yield key, "", "", ""
            continue
        known = {child.tag: child.text or "" for child in fields["Properties"].iterchildren(*_WANTED)}
        size, modified, etag = (known[name] for name in _WANTED)
        if not size.strip("0") and any(marks_folder(entry.tag, entry.text) for entry in fields.get("Metadata", ())):
            yield key, None, "", ""
        else:
            yield key, size, modified, etag


def _name(element: "etree._Element") -> str:
    """Return the name in a `Name` element; a name that XML cannot hold comes percent-encoded."""
    text = element.text
    if not text:
        raise ValueError("an empty name")
    return unquote(text, errors="strict") if element.get("Encoded") == "true" else text


def marks_folder(name: str, value: str | None) -> bool:
    """Whether one metadata entry marks a directory, as Data Lake Gen2 and several tools write it."""
    return name.lower() == "hdi_isfolder" and (value or "").strip().lower() == "true"


def http_date_ns(text: str) -> int:
    """Return the nanoseconds since 1970 UTC of `Wed, 12 Nov 2025 10:00:00 GMT`.

    Raises:
        ValueError: it is not such a date.
    """
    if len(text) != _DATE_LENGTH or not text.endswith(" GMT"):
        raise ValueError(f"{text!r} is not a date")
    of_day = int(text[17:19]) * 3600 + int(text[20:22]) * 60 + int(text[23:25])
    return (_midnight_s(text[5:16]) + of_day) * 1_000_000_000


@lru_cache(maxsize=256)
def _midnight_s(date: str) -> int:
    day, month, year = date.split(" ")
    if month not in _MONTHS:
        raise ValueError(f"{date!r} is not a date")
    return timegm((int(year), _MONTHS[month], int(day), 0, 0, 0))
