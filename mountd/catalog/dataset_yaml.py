"""Datasets as data assets of Azure ML's CLI v2: YAML files that people write, and those that the workspace keeps.

`uri_file`, `uri_folder` and `mltable` are Azure ML's own. `file_dataset` and `tabular`, with `paths:` and `steps:`, and
patterns in a path are extensions. What only mountd knows of a registered one stands under `properties:`.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import UUID

import msgspec
import yaml

from mountd.catalog.dataset import DatasetDefinition, DatasetType
from mountd.catalog.datastore_kinds import Tags
from mountd.catalog.selection import Step, check_steps
from mountd.catalog.source import LocalPath
from mountd.config.strict_yaml import convert, load_yaml, read_text
from mountd.errors import UsageError

SCHEMA = "https://azuremlschemas.azureedge.net/latest/data.schema.json"
_ID, _CREATED = "mountd.id", "mountd.created"
_LONGEST_LINE = 4096


class DataAsset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"schema": "$schema"}):
    """What one file holds."""

    schema: str | None = None
    name: str | None = None
    version: str | int | float | None = None
    description: str | None = None
    tags: Tags = {}
    properties: Tags = {}
    type: DatasetType = "uri_folder"
    path: str | None = None
    paths: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    format: str | None = None
    options: dict[str, Any] = {}

    @property
    def all_paths(self) -> tuple[str, ...]:
        """`path` or `paths`."""
        return self.paths if self.path is None else (self.path,)

    @property
    def definition(self) -> DatasetDefinition:
        """What it says of the files, in its own spelling."""
        return DatasetDefinition(
            type=self.type, paths=self.all_paths, steps=self.steps, format=self.format, options=self.options
        )


class RegisteredDataset(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that the workspace keeps."""

    id: str
    """A UUID; stays the same for as long as the dataset exists."""
    name: str | None
    """None: it is kept under its id alone."""
    version: str | None
    description: str | None
    tags: Tags
    created: datetime
    """UTC."""
    definition: DatasetDefinition
    listing: Path
    """Where its listing is pinned; the first use makes the file."""

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.name}:{self.version}" if self.name else self.id


def read_data_asset(path: Path) -> DataAsset:
    """Return what the data asset in `path` says; its paths are as they are written.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is not a data asset.
    """
    origin = str(path)
    value = load_yaml(read_text(path), origin)
    if not isinstance(value, dict) or not ("path" in value or "paths" in value):
        raise UsageError(
            f"{path}: path: is missing; a .yml SOURCE is a data asset, write file://{path} for the file itself"
        )
    asset = convert(value, DataAsset, origin)
    if asset.path is not None and asset.paths:
        raise UsageError(f"{path}: path: and paths: are both given; give one")
    if not asset.all_paths:
        raise UsageError(f"{path}: paths: is empty")
    if asset.type not in {"file_dataset", "tabular"}:
        if asset.path is None:
            raise UsageError(f"{path}: paths: goes with type: file_dataset; type: {asset.type} has one path:")
        if asset.steps:
            raise UsageError(f"{path}: steps: goes with type: file_dataset")
    try:
        check_steps(asset.steps)
    except UsageError as error:
        raise UsageError(f"{path}: steps: {error.message}") from None
    return asset


def listing_of(path: Path, identifier: str) -> Path:
    """Return where the listing is pinned of the dataset in `path`: what a removed one left is never another one's."""
    return path.with_name(f"{path.stem}.{identifier}.listing")


def decode_registered(path: Path) -> RegisteredDataset:
    """Return the registered dataset in the file `path`.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is malformed.
    """
    asset = read_data_asset(path)
    try:
        identifier = str(UUID(str(asset.properties.get(_ID))))
        created = datetime.fromisoformat(str(asset.properties.get(_CREATED)))
    except ValueError:
        raise UsageError(
            f"{path}: properties: lacks {_ID} or {_CREATED}; register a data asset with `mountd dataset create --file`"
        ) from None
    return RegisteredDataset(
        id=identifier,
        name=asset.name,
        version=None if asset.version is None else str(asset.version),
        description=asset.description,
        tags=asset.tags,
        created=created if created.tzinfo else created.replace(tzinfo=UTC),
        definition=msgspec.structs.replace(asset.definition, paths=tuple(map(_as_uri, asset.all_paths))),
        listing=listing_of(path, identifier),
    )


def encode_registered(dataset: RegisteredDataset) -> bytes:
    """Return the YAML file of `dataset`."""
    definition = dataset.definition
    single = definition.type not in {"file_dataset", "tabular"}
    fields: dict[str, Any] = {
        "$schema": SCHEMA,
        "name": dataset.name,
        "version": dataset.version,
        "description": dataset.description,
        "type": definition.type,
        **({"path": _as_path(definition.paths[0])} if single else {"paths": list(definition.paths)}),
        "steps": msgspec.to_builtins(definition.steps),
        "format": definition.format,
        "options": definition.options,
        "tags": dataset.tags,
        "properties": {_ID: dataset.id, _CREATED: dataset.created.isoformat()},
    }
    kept = {name: value for name, value in fields.items() if value not in (None, {}, [], ())}
    text = _dump(kept, allow_unicode=True)
    if yaml.safe_load(text) != kept:
        text = _dump(kept, allow_unicode=False)  # as for datastores: some separators do not come back otherwise
    return text.encode("utf-8")


def _as_path(uri: str) -> str:
    """Return a path of this node as Azure ML writes it, which knows no `file:`; other places stay as they are."""
    path = unquote_to_bytes(uri.removeprefix("file://")).decode() if uri.startswith("file:///") else ""
    return path if path and "*" not in uri and _as_uri(path) == uri else uri


def _as_uri(path: str) -> str:
    """Return what `_as_path` was given."""
    return LocalPath(path).uri.replace("*", "%2A") if path.startswith("/") else path


def _dump(fields: dict[str, Any], *, allow_unicode: bool) -> str:
    text = yaml.safe_dump(
        fields, sort_keys=False, allow_unicode=allow_unicode, default_flow_style=False, width=_LONGEST_LINE
    )
    assert isinstance(text, str)
    return text
