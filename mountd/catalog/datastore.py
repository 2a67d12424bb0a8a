"""Datastores: named places in storage, in the schema of Azure ML's CLI v2.

A value is what one YAML file holds. `type: local`, `blob_cache_timeout` and the emulator's endpoints are extensions.
Secrets live in `credentials` alone, whose `repr` shows none.
"""

import base64
import binascii
import math
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from mountd.catalog.model import AccountKey, Anonymous, BlobSpec, Credential, LocalSpec, Sas, StoreSpec
from mountd.catalog.naming import (
    CONTAINER_RULE,
    DATASTORE_RULE,
    account_url,
    is_account_name,
    is_container_name,
    is_datastore_name,
    is_emulator_host,
    split_host,
)
from mountd.config.strict_yaml import convert
from mountd.errors import UsageError

_BLOB_SCHEMA = "https://azuremlschemas.azureedge.net/latest/azureBlob.schema.json"
_LONGEST_LINE = 4096  # a SAS stays in one line, for people who copy it
_LATER_TYPES = {
    "azure_file": "Azure Files",
    "azure_data_lake_gen2": "Data Lake Storage Gen2",
    "azure_data_lake_gen1": "Data Lake Storage Gen1",
    "one_lake": "OneLake",
}

Tags = dict[str, str | int | float | bool | None]


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of the two."""

    account_key: str | None = None
    sas_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.kind}=***)"

    @property
    def kind(self) -> str:
        """`account_key` or `sas_token`."""
        return "account_key" if self.account_key else "sas_token"

    @property
    def credential(self) -> Credential:
        """What a store is opened with."""
        if self.account_key:
            return AccountKey(self.account_key)
        return Sas(self.sas_token) if self.sas_token else Anonymous()


class BlobDatastore(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="azure_blob",
    tag_field="type",
    rename={"schema": "$schema"},
):
    """A Blob container."""

    schema: str | None = None
    name: str
    description: str | None = None
    tags: Tags = {}
    account_name: str
    container_name: str
    endpoint: str = "core.windows.net"
    protocol: Literal["http", "https"] = "https"
    credentials: Credentials | None = None
    blob_cache_timeout: int | float | None = None
    """Seconds that mounts may use attributes and listings without asking; None is the mount's own default."""

    @property
    def account_url(self) -> str:
        """The Blob service's URL, without a trailing slash."""
        return account_url(self.protocol, self.endpoint, self.account_name)

    @property
    def attr_ttl_s(self) -> float | None:
        """`blob_cache_timeout`."""
        return None if self.blob_cache_timeout is None else float(self.blob_cache_timeout)

    def store(self, directory: Path) -> StoreSpec:
        """Return the store to open; `directory` is not used."""
        del directory
        return BlobSpec(
            account_name=self.account_name,
            container=self.container_name,
            account_url=self.account_url,
            credential=self.credentials.credential if self.credentials else Anonymous(),
        )


class LocalDatastore(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="local",
    tag_field="type",
    rename={"schema": "$schema"},
):
    """A directory of this node."""

    schema: str | None = None
    name: str
    description: str | None = None
    tags: Tags = {}
    path: str
    """Absolute, or relative to the directory of the YAML file."""

    @property
    def attr_ttl_s(self) -> float | None:
        """Local stores have none of their own."""
        return None

    def store(self, directory: Path) -> StoreSpec:
        """Return the store to open; a relative path starts at `directory`."""
        return LocalSpec(path=str((directory / self.path).resolve()))


Datastore = BlobDatastore | LocalDatastore


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
    if isinstance(kind, str) and kind in _LATER_TYPES:
        raise UsageError(f"{origin}: type: {_LATER_TYPES[kind]} is not in this version; use azure_blob or local")
    if kind is not None and kind not in ("azure_blob", "local"):
        raise UsageError(f"{origin}: type: must be azure_blob or local")
    datastore: Datastore = convert(value, BlobDatastore | LocalDatastore, origin)  # type: ignore[arg-type] # a union is no type to mypy
    return check_datastore(datastore, origin)


def check_datastore(datastore: Datastore, origin: str) -> Datastore:
    """Return `datastore` in its stored form: name in lower case, credentials without decoration.

    Raises:
        UsageError: a field holds what no storage account can have.
    """
    if not is_datastore_name(datastore.name):
        raise UsageError(f"{origin}: name: {datastore.name!r} is no datastore name: it is {DATASTORE_RULE}")
    datastore = msgspec.structs.replace(datastore, name=datastore.name.lower())
    if isinstance(datastore, LocalDatastore):
        if not datastore.path or "\0" in datastore.path:
            raise UsageError(f"{origin}: path: must name a directory")
        return datastore
    if split_host(datastore.endpoint) is None:
        raise UsageError(f"{origin}: endpoint: must be a host, such as core.windows.net or 127.0.0.1:10000")
    if not is_account_name(datastore.account_name, emulated=is_emulator_host(datastore.endpoint)):
        raise UsageError(f"{origin}: account_name: must be a storage account's: 3 to 24 of a-z and 0-9")
    if not is_container_name(datastore.container_name):
        raise UsageError(f"{origin}: container_name: must be a container's: {CONTAINER_RULE}")
    timeout = datastore.blob_cache_timeout
    if timeout is not None and not (timeout >= 0 and math.isfinite(timeout)):
        raise UsageError(f"{origin}: blob_cache_timeout: must be seconds, 0 or more")
    if datastore.credentials is None:
        return datastore
    credentials = check_credentials(datastore.credentials, f"{origin}: credentials")
    return msgspec.structs.replace(datastore, credentials=credentials)


def check_credentials(credentials: Credentials, origin: str) -> Credentials:
    """Return `credentials` without surrounding blanks or a SAS's leading `?`.

    Raises:
        UsageError: not exactly one is given, or it is not what its field says.
    """
    key, sas = credentials.account_key, credentials.sas_token
    if (key is None) == (sas is None):
        raise UsageError(f"{origin}: must hold account_key or sas_token, one of them")
    if key is not None:
        if not is_account_key(key.strip()):
            raise UsageError(f"{origin}.account_key: is not an account key (base64 text)")
        return Credentials(account_key=key.strip())
    assert sas is not None
    token = sas.strip().lstrip("?")
    if not is_sas(token):
        raise UsageError(f"{origin}.sas_token: is not a SAS (a query string with sig=)")
    return Credentials(sas_token=token)


def is_account_key(text: str) -> bool:
    """Tell whether `text` can be an account key: base64."""
    try:
        return bool(base64.b64decode(text.encode("ascii"), validate=True))
    except (binascii.Error, UnicodeEncodeError):
        return False


def is_sas(text: str) -> bool:
    """Tell whether `text` can be a SAS: query parameters, `sig` among them."""
    names = {part.partition("=")[0] for part in text.split("&")}
    return "sig" in names and text.isascii() and text.isprintable() and " " not in text and "://" not in text


def encode_datastore(datastore: Datastore) -> bytes:
    """Return the YAML file of `datastore`, secrets included."""
    fields: dict[str, Any] = msgspec.to_builtins(datastore)
    schema = fields.pop("$schema", None) or (_BLOB_SCHEMA if isinstance(datastore, BlobDatastore) else None)
    head = {"$schema": schema} if schema else {}
    # name and type first: the order people know
    head |= {"name": fields.pop("name"), "type": fields.pop("type")}
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
    """Return what may be shown of `datastore`: everything but secrets, whose kind alone is named."""
    fields: dict[str, Any] = msgspec.to_builtins(datastore)
    fields.pop("$schema", None)
    credentials = fields.pop("credentials", None)
    shown = {"name": fields.pop("name"), "type": fields.pop("type")}
    shown |= {name: value for name, value in fields.items() if value not in (None, {})}
    if isinstance(datastore, LocalDatastore):
        return shown | {"path": str((directory / datastore.path).resolve())}
    return shown | {
        "account_url": datastore.account_url,
        "credentials": next(iter(credentials)) if credentials else "none",
    }
