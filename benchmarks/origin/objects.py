"""Containers and their objects, and the XML of their listings.

Invariants: an object is replaced, never changed, and every version has an ETag of its own; names are ordered by code
point, as the service does; a page is rendered once per state of its container.
"""

import base64
import re
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from email.utils import formatdate
from itertools import count
from typing import NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape

from benchmarks.origin.settings import Dataset
from benchmarks.origin.tape import Tape

PAGE_LIMIT = 5000
_EPOCH = 1_767_225_600  # 2026-01-01: when generated objects were last modified
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_AFTER_ALL = "\U0010ffff"
_versions = count(1)


def _next_etag() -> str:
    # an odd factor modulo 2**48 visits every value once, and neighbours look nothing alike
    return f'"0x8D{next(_versions) * 0x9E3779B97F4B % (1 << 48):012X}"'


class StoredObject:
    """One version of one object: a window on the tape, or bytes that a client sent."""

    __slots__ = ("etag", "headers", "metadata", "mtime", "size", "source", "version")

    def __init__(
        self,
        source: int | memoryview,
        size: int,
        *,
        mtime: float,
        metadata: dict[str, str] | None = None,
        version: int = 0,
    ) -> None:
        self.source = source  # where on the tape it begins, or the bytes themselves
        self.size = size
        self.etag = _next_etag()
        self.mtime = mtime
        self.metadata = metadata or {}
        self.version = version
        date = formatdate(mtime, usegmt=True)
        lines = [
            "Content-Type: application/octet-stream",
            "Accept-Ranges: bytes",
            f"Last-Modified: {date}",
            f"x-ms-creation-time: {date}",
            f"ETag: {self.etag}",
            "x-ms-blob-type: BlockBlob",
            "x-ms-lease-status: unlocked",
            "x-ms-lease-state: available",
            "x-ms-server-encrypted: true",
            *(f"x-ms-meta-{name}: {value}" for name, value in self.metadata.items()),
        ]
        self.headers = "".join(f"{line}\r\n" for line in lines).encode()


class ListQuery(NamedTuple):
    """What a List Blobs request asks for."""

    prefix: str
    delimiter: str
    marker: str
    limit: int
    metadata: bool


class Container:
    """A flat map of keys to objects."""

    def __init__(self, name: str, tape: Tape) -> None:
        self.name = name
        self.objects: dict[str, StoredObject] = {}
        self.blocks: dict[str, dict[str, bytes]] = {}
        self._tape = tape
        self._sorted: list[str] | None = None
        self._pages: dict[ListQuery, bytes] = {}

    def put(self, key: str, stored: StoredObject) -> None:
        """Make `stored` the current version of `key`."""
        self.objects[key] = stored
        self._changed()

    def delete(self, key: str) -> bool:
        """Remove `key`; false if there is none."""
        self._changed()
        return self.objects.pop(key, None) is not None

    def generate(self, dataset: Dataset) -> None:
        """Add the objects of `dataset`."""
        for index in range(dataset.count):
            key = dataset.pattern.format(index=index, group=index // dataset.group_size)
            start = self._tape.start_of(self.name, key, 0)
            self.objects[key] = StoredObject(start, dataset.size, mtime=_EPOCH + index)
        self._changed()

    def replace(self, key: str) -> None:
        """Give the generated object `key` a new version of the same size and time."""
        old = self.objects[key]
        start = self._tape.start_of(self.name, key, old.version + 1)
        self.put(key, StoredObject(start, old.size, mtime=old.mtime, metadata=old.metadata, version=old.version + 1))

    def _changed(self) -> None:
        self._sorted = None
        self._pages.clear()

    def page(self, query: ListQuery, endpoint: str) -> bytes:
        """Return one page of List Blobs as XML, in the service's shape."""
        if query not in self._pages:
            self._pages[query] = self._render(query, endpoint)
        return self._pages[query]

    def _names(self) -> list[str]:
        if self._sorted is None:
            self._sorted = sorted(self.objects)
        return self._sorted

    def _entries(self, query: ListQuery) -> Iterator[tuple[str, bool]]:
        """Yield (name, is a prefix) from the marker on."""
        names = self._names()
        after = base64.urlsafe_b64decode(query.marker).decode() if query.marker else ""
        index = bisect_left(names, query.prefix)
        if after:
            is_prefix = bool(query.delimiter) and after.endswith(query.delimiter) and after != query.prefix
            index = max(index, bisect_left(names, after + _AFTER_ALL) if is_prefix else bisect_right(names, after))
        while index < len(names) and names[index].startswith(query.prefix):
            name = names[index]
            cut = name.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
            if cut < 0:
                yield name, False
                index += 1
            else:
                common = name[: cut + len(query.delimiter)]
                yield common, True
                index = bisect_left(names, common + _AFTER_ALL, index)

    def _render(self, query: ListQuery, endpoint: str) -> bytes:
        blobs, last, marker = [], "", ""
        for found, (name, is_prefix) in enumerate(self._entries(query)):
            if found == query.limit:
                marker = base64.urlsafe_b64encode(last.encode()).decode()
                break
            blobs.append(f"<BlobPrefix>{_name(name)}</BlobPrefix>" if is_prefix else self._blob(name, query.metadata))
            last = name
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
            f'<EnumerationResults ServiceEndpoint="{endpoint}" ContainerName="{self.name}">'
            f"{_tag('Prefix', query.prefix)}{_tag('Marker', query.marker)}<MaxResults>{query.limit}</MaxResults>"
            f"{_tag('Delimiter', query.delimiter) if query.delimiter else ''}"
            f"<Blobs>{''.join(blobs)}</Blobs>{_tag('NextMarker', marker)}</EnumerationResults>"
        ).encode()

    def _blob(self, name: str, with_metadata: bool) -> str:
        stored = self.objects[name]
        date = formatdate(stored.mtime, usegmt=True)
        metadata = ""
        if with_metadata:
            inner = "".join(_tag(field, value) for field, value in stored.metadata.items())
            metadata = f"<Metadata>{inner}</Metadata>" if inner else "<Metadata/>"
        return (
            f"<Blob>{_name(name)}<Properties><Creation-Time>{date}</Creation-Time><Last-Modified>{date}</Last-Modified>"
            f"<Etag>{stored.etag[1:-1]}</Etag><Content-Length>{stored.size}</Content-Length>"
            "<Content-Type>application/octet-stream</Content-Type><Content-MD5/><BlobType>BlockBlob</BlobType>"
            "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted>"
            "<AccessTier>Hot</AccessTier><AccessTierInferred>true</AccessTierInferred>"
            f"</Properties>{metadata}</Blob>"
        )


class Account:
    """All containers."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.containers: dict[str, Container] = {}

    def container(self, name: str) -> Container:
        """Return the container `name`, made if missing."""
        if name not in self.containers:
            self.containers[name] = Container(name, self.tape)
        return self.containers[name]


def sent_object(data: bytes, metadata: dict[str, str]) -> StoredObject:
    """Return `data` as a client sent it, modified now; times have whole seconds, as the service's."""
    return StoredObject(memoryview(data), len(data), mtime=int(time.time()), metadata=metadata)


def _tag(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>" if text else f"<{name}/>"


def _name(name: str) -> str:
    if _NOT_XML.search(name):
        return f'<Name Encoded="true">{quote(name)}</Name>'
    return f"<Name>{escape(name)}</Name>"
