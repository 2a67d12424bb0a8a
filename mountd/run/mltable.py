"""An MLTable, evaluated as far as files go: the files that its `paths` name, as a dataset.

Pure, but for `find`, which resolves what does not lie beside the MLTable. How a table's rows are made of the files
(`transformations`) is the business of whoever reads them.
"""

import math
import os
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from mountd.catalog import pattern
from mountd.catalog.model import DatasetSource, DatasetSpec, LeafSpec, LocalSpec, Location
from mountd.config.strict_yaml import convert, load_yaml
from mountd.errors import UsageError
from mountd.observe.redaction import redact

FILE_NAME = "MLTable"
"""The file that makes a directory an MLTable."""


class _Path(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: str | None = None
    folder: str | None = None
    pattern: str | None = None


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    paths: list[_Path]


def evaluate(text: str, location: Location, find: Callable[[str], Location]) -> Location:
    """Return the files of an MLTable as a place.

    Args:
        text: of the file `MLTable`.
        location: the directory that it is in.
        find: resolves a path that is absolute or a URI.

    Raises:
        UsageError: it is malformed, or names what no dataset can hold.
    """
    origin = f"{location.source}/{FILE_NAME}"
    table = convert(load_yaml(text, origin), _Table, origin)
    if not table.paths:
        raise UsageError(f"{origin}: paths: names no files")
    store, directory = _base(location)
    stores: dict[LeafSpec, int] = {}
    sources: list[DatasetSource] = []
    for number, entry in enumerate(table.paths):
        given = [value for value in (entry.file, entry.folder, entry.pattern) if value is not None]
        if len(given) != 1:
            raise UsageError(f"{origin}: paths.{number}: takes one of file, folder and pattern")
        is_absolute = given[0].startswith("/") or ":" in given[0].partition("/")[0]
        split = pattern.Split(given[0], "")
        if entry.pattern is not None:
            split = pattern.split_uri(given[0]) if is_absolute else pattern.split_path(given[0])
        if ".." in split.pattern.split("/"):
            raise UsageError(f"{origin}: paths.{number}: a pattern cannot hold a `..` segment behind a star")
        inner = None if is_absolute else _seen_from(directory, split.base)
        if inner is None:
            found = find(split.base if is_absolute else _outside(location, store, directory, split.base, origin))
            if isinstance(found.store, DatasetSpec):
                raise UsageError(f"{origin}: paths.{number}: a dataset cannot be a part of another; name its paths")
            place, path = found.store, found.path
        else:
            place, path = store, inner
        sources.append(
            DatasetSource(
                store=stores.setdefault(place, len(stores)),
                path=path,
                pattern=split.pattern,
                is_file=entry.file is not None,
                text=redact(given[0]),
            )
        )
    spec = DatasetSpec(name=location.source, stores=tuple(stores), sources=tuple(sources))
    return Location(store=spec, path="", source=location.source, attr_ttl_s=math.inf)


def _base(location: Location) -> tuple[LeafSpec, str]:
    """Return where relative paths of an MLTable in `location` start."""
    spec = location.store
    if not isinstance(spec, DatasetSpec):
        return spec, location.path
    if len(spec.sources) != 1 or spec.sources[0].pattern:
        raise UsageError(f"{location.source}: is not one directory, and so no MLTable")
    return spec.stores[spec.sources[0].store], spec.sources[0].path


def _seen_from(directory: str, path: str) -> str | None:
    """Return the path in the store that `path` is, seen from `directory`; None: it leads out of the store."""
    segments = directory.split("/") if directory else []
    for segment in path.split("/"):
        if segment == ".." and not segments:
            return None
        if segment == "..":
            segments.pop()
        elif segment != ".":
            segments.append(segment)
    return "/".join(segments).strip("/")


def _outside(location: Location, store: LeafSpec, directory: str, path: str, origin: str) -> str:
    """Return the SOURCE of a path that leads out of the directory of this node that the MLTable is in.

    Raises:
        UsageError: it leads out of a datastore or a container.
    """
    spec = location.store
    text = spec.sources[0].text if isinstance(spec, DatasetSpec) else location.source
    if not isinstance(store, LocalSpec) or text.startswith("azureml:"):
        raise UsageError(f"{origin}: the path {path!r} leads out of the place that the MLTable is in")
    return f"file://{quote(os.path.normpath(os.path.join(store.path, directory, path)))}"
