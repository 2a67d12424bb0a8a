"""Data assets of Azure ML's CLI v2: a YAML file that names where the data is."""

from pathlib import Path
from typing import Literal

import msgspec

from mountd.catalog.datastore import Tags
from mountd.config.strict_yaml import convert, load_yaml, read_text
from mountd.errors import UsageError


class _DataYaml(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"schema": "$schema"}):
    schema: str | None = None
    name: str | None = None
    version: str | int | float | None = None
    description: str | None = None
    tags: Tags = {}
    properties: Tags = {}
    type: Literal["uri_file", "uri_folder", "mltable"] = "uri_folder"
    path: str


def read_data_yaml(path: Path) -> str:
    """Return the SOURCE that the data asset in `path` names; a relative one starts at the file's directory.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is not a data asset, or of a type that this version cannot read.
    """
    value = load_yaml(read_text(path), str(path))
    if not isinstance(value, dict) or "path" not in value:
        raise UsageError(
            f"{path}: path: is missing; a .yml SOURCE is a data asset, write file://{path} for the file itself"
        )
    asset = convert(value, _DataYaml, str(path))
    if asset.type == "mltable":
        raise UsageError(f"{path}: type: mltable is not in this version; use uri_folder or uri_file")
    return asset.path
