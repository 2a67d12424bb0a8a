"""Where the files of a dataset show up: the same for mount and download. Pure.

Of one source the directory that it names is left out, or that of the file that it names, or the one before the first
segment of its pattern. Of several sources what is left out is what these directories have in common; hosts, containers
and local paths are compared too, so that sources of different stores keep apart.
"""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from mountd.catalog.model import BlobSpec, LeafSpec, LocalSpec, WebSpec
from mountd.catalog.packed_listing import PackedSource
from mountd.catalog.web_url import WebAddress


class Place(NamedTuple):
    """What a source turned out to be."""

    store: int
    """Index of its store."""
    path: str
    """A directory, "" for the root; or the key of a file."""
    is_file: bool


def lay_out(places: Sequence[Place], stores: Sequence[LeafSpec]) -> list[PackedSource]:
    """Return for each source how keys become shown paths."""
    bases = [_segments(stores[place.store]) + _directory(place) for place in places]
    common = len(bases[0])
    for base in bases[1:]:
        common = min(common, len(base))
        while base[:common] != bases[0][:common]:
            common -= 1
    packed: list[PackedSource] = []
    for place, base in zip(places, bases, strict=True):
        shown = "".join(f"{segment}/" for segment in base[common:])
        if place.is_file:
            packed.append(PackedSource(place.store, place.path, shown + place.path.rpartition("/")[2]))
        else:
            packed.append(PackedSource(place.store, f"{place.path}/" if place.path else "", shown))
    return packed


def web_key(address: WebAddress) -> str:
    """Return the key of a web file in a dataset's store: `https/host/path`."""
    return "/".join(part for part in (address.url.partition(":")[0], address.host, *address.path.split("/")) if part)


def label(spec: LeafSpec) -> str:
    """Return a store as `to_path()` spells it: `https%3A/%2Facct.blob.core.windows.net/container`; "" for the web."""
    if isinstance(spec, WebSpec):
        return ""
    if isinstance(spec, LocalSpec):
        return "/".join(["file%3A", *(quote(part, safe="") for part in spec.path.split("/") if part)])
    scheme, _, rest = spec.account_url.partition("://")
    host, *more = rest.split("/")
    return "/".join([f"{scheme}%3A", *(quote(part, safe="") for part in (f"/{host}", *more, spec.container))])


def _segments(spec: LeafSpec) -> list[str]:
    if isinstance(spec, WebSpec):
        return []
    if isinstance(spec, BlobSpec):
        return [*spec.account_url.partition("://")[2].split("/"), spec.container]
    return ["local", *(part for part in spec.path.split("/") if part)]


def _directory(place: Place) -> list[str]:
    path = place.path.rpartition("/")[0] if place.is_file else place.path
    return path.split("/") if path else []
