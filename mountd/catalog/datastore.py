"""Datastores: named places in storage, as YAML in the schema of Azure ML's CLI v2.

A value is what one file holds; `datastore_kinds` has the kinds and their extensions. Secrets live in `credentials`
alone, whose `repr` shows none.
"""

from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from mountd.catalog.credentials import Credentials, check_credentials
from mountd.catalog.datastore_kinds import BlobDatastore, Datastore, LocalDatastore, Tags
from mountd.catalog.naming import DATASTORE_RULE, is_datastore_name
from mountd.config.strict_yaml import convert
from mountd.errors import UsageError

__all__ = [
    "BlobDatastore",
    "Credentials",
    "Datastore",
    "LocalDatastore",
    "Tags",
    "check_credentials",
    "check_datastore",
    "decode_datastore",
    "describe_datastore",
    "encode_datastore",
]

_LONGEST_LINE = 4096  # a SAS stays in one line, for people who copy it
_KINDS = [str(kind.__struct_config__.tag) for kind in get_args(Datastore)]


def decode_datastore(value: object, origin: str) -> Datastore:
    """Return the datastore that a YAML document describes, every field checked.

    Args:
        value: the document's plain values.
        origin: the file, for errors.

    Raises:
        UsageError: a field is unknown, missing or wrong; the message names file and field.
    """
    if not isinstance(value, dict):
        raise UsageError(f"{origin}: must hold fields such as name: and type:")
    kind = value.get("type")
    if kind == "one_lake":
        raise UsageError(f"{origin}: type: OneLake is not in this version")
    if kind is not None and kind not in _KINDS:
        raise UsageError(f"{origin}: type: must be one of {', '.join(_KINDS)}")
    credentials = value.get("credentials")
    if isinstance(credentials, dict) and "authority_uri" in credentials and "authority_url" not in credentials:
        # what Azure ML called it once, and still reads
        renamed = {"authority_url" if key == "authority_uri" else key: text for key, text in credentials.items()}
        value = {**value, "credentials": renamed}
    datastore: Datastore = convert(value, Datastore, origin)  # type: ignore[arg-type] # a union is no type to mypy
    return check_datastore(datastore, origin)


def check_datastore(datastore: Datastore, origin: str) -> Datastore:
    """Return `datastore` in its stored form: name in lower case, credentials without decoration.

    Raises:
        UsageError: a field holds what no storage of its kind can have.
    """
    if not is_datastore_name(datastore.name):
        raise UsageError(f"{origin}: name: {datastore.name!r} is no datastore name: it is {DATASTORE_RULE}")
    return msgspec.structs.replace(datastore, name=datastore.name.lower(), id=None).checked(origin)


def encode_datastore(datastore: Datastore) -> bytes:
    """Return the YAML file of `datastore`, secrets included."""
    fields: dict[str, Any] = msgspec.to_builtins(datastore)
    schema = fields.pop("$schema", None) or datastore.schema_url
    head = {"$schema": schema} if schema else {}
    # name and type first: the order people know
    head |= {"name": fields.pop("name"), "type": fields.pop("type")}
    fields["credentials"] = fields.pop("credentials", None)  # last
    kept = {name: value for name, value in fields.items() if value not in (None, {})}
    text = _dump(head | kept, allow_unicode=True)
    if yaml.safe_load(text) != head | kept:
        # PyYAML writes some line separators so that it reads them back as others; escapes are safe
        text = _dump(head | kept, allow_unicode=False)
    return text.encode("utf-8")


def _dump(fields: dict[str, Any], *, allow_unicode: bool) -> str:
    text = yaml.safe_dump(
        fields, sort_keys=False, allow_unicode=allow_unicode, default_flow_style=False, width=_LONGEST_LINE
    )
    assert isinstance(text, str)
    return text


def describe_datastore(datastore: Datastore, directory: Path) -> dict[str, Any]:
    """Return what may be shown of `datastore`: everything but secrets, whose kind alone is named.

    Args:
        datastore: one of the workspace's.
        directory: where a local one's relative path starts.
    """
    fields: dict[str, Any] = msgspec.to_builtins(datastore)
    fields.pop("$schema", None)
    shown = {"name": fields.pop("name"), "type": fields.pop("type")}
    if isinstance(datastore, LocalDatastore):
        path = str((directory / datastore.path).resolve())
        fields |= {"path": path}
        place = path
    else:
        credentials = datastore.credentials
        fields |= {"credentials": credentials.kind if credentials else "none"}
        if hasattr(datastore, "account_url"):
            fields |= {"account_url": datastore.account_url}
        place = datastore.place
    shown |= {name: value for name, value in fields.items() if value not in (None, {})}
    return shown | {"place": place}
