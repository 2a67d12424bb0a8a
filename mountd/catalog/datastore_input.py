"""Datastores as people hand them in: a YAML file, or words on a command line with the secret on another way.

Reads files; secrets come as text that the caller took from the environment or standard input.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from mountd.catalog.connection_string import ConnectionString, endpoint_of, parse_connection_string
from mountd.catalog.credentials import Credentials, is_account_key, is_sas
from mountd.catalog.datastore import check_datastore, decode_datastore
from mountd.catalog.datastore_kinds import BlobDatastore, Datastore, FileDatastore, LocalDatastore
from mountd.config.strict_yaml import load_yaml, read_text
from mountd.errors import NotFoundError, UsageError

_CONNECTION_STRING = re.compile(
    r"(?:^|;)\s*(?:AccountName|AccountKey|BlobEndpoint|SharedAccessSignature|DefaultEndpointsProtocol|"
    r"UseDevelopmentStorage)\s*=",
    re.IGNORECASE,
)

_OWNED = {"client_id": "client_secret", "username": "password"}
_NEEDED = {"azure_blob": ("account_name", "container_name"), "local": ("path",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A credential in whatever form it was given: account key, SAS, URL with a SAS, or connection string."""

    text: str = field(repr=False)
    origin: str
    """Where it came from, for errors."""

    @property
    def connection_string(self) -> ConnectionString | None:
        """What it is if it is a connection string."""
        if _CONNECTION_STRING.search(self.text) is None:
            return None
        return parse_connection_string(self.text, self.origin)

    def credentials(self) -> Credentials:
        """Return it under the name of its kind.

        Raises:
            UsageError: it is of no known kind.
        """
        parsed = self.connection_string
        if parsed is not None:
            if parsed.account_key:
                return Credentials(account_key=parsed.account_key)
            if parsed.sas_token:
                return Credentials(sas_token=parsed.sas_token)
            raise UsageError(f"{self.origin}: the connection string has neither AccountKey nor SharedAccessSignature")
        text = self.text.strip()
        token = text.partition("?")[2] if "://" in text else text.lstrip("?")
        if is_sas(token):
            return Credentials(sas_token=token)
        if is_account_key(text):
            return Credentials(account_key=text)
        raise UsageError(
            f"{self.origin}: is neither an account key (base64), nor a SAS (sig=…), nor a connection string"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreWords:
    """A datastore in words; None where nothing was said."""

    name: str | None = None
    type: str | None = None
    account_name: str | None = None
    container_name: str | None = None
    endpoint: str | None = None
    protocol: str | None = None
    path: str | None = None


def datastore_from_file(file: Path, *, name: str | None, secret: Secret | None) -> Datastore:
    """Return the datastore that a YAML file describes.

    Args:
        file: in the schema of Azure ML's CLI v2, or `type: local`.
        name: takes the place of the file's own name.
        secret: takes the place of the file's own credentials; of a service principal and of a database's user, of the
            secret or password alone.

    Raises:
        UsageError: the file is malformed; the message names file and field.
        NotFoundError: there is no such file, or no such directory as a local datastore's.
    """
    origin = str(file)
    value = load_yaml(read_text(file), origin)
    if name is not None and isinstance(value, dict):
        value |= {"name": name}
    if secret is not None and isinstance(value, dict):
        value = _with_missing_secret(value, secret)
    return _completed(decode_datastore(value, origin), secret, file.absolute().parent, origin)


def datastore_from_words(
    words: DatastoreWords, *, secret: Secret | None, environ: Mapping[str, str], cwd: Path
) -> Datastore:
    """Return the datastore that `words` describe; a local one's relative path starts at `cwd`.

    What a connection string says beside its secret fills in what `words` leave out. Where nobody says endpoint or
    protocol, `$AZURE_STORAGE_CONNECTION_STRING` does, if it is for the same account.

    Raises:
        UsageError: a word is missing, wrong, or does not belong to the type.
        NotFoundError: there is no such directory.
    """
    if words.name is None:
        raise UsageError("NAME: is missing; give it, or --file")
    if words.type is None:
        raise UsageError("--type: is missing; give azure_blob or local, or --file")
    if words.type not in _NEEDED:
        raise UsageError(f"--type: {words.type}: must be azure_blob or local; any other kind is described by --file")
    parsed = secret.connection_string if secret and words.type == "azure_blob" else None
    if parsed is not None:
        words = _filled(words, parsed, secret.origin if secret else "")
    elif words.type == "azure_blob":
        words = _placed(words, environ)
    fields = {key: value for key, value in asdict(words).items() if value is not None}
    needed = _NEEDED[fields["type"]]
    for key in needed:
        if fields.get(key) == "":
            raise UsageError(f"--{key.replace('_', '-')}: is empty")
        if key not in fields:
            raise UsageError(f"--{key.replace('_', '-')}: is missing; a datastore of type {words.type} needs it")
    for key in fields.keys() - {"name", "type", *needed}:
        if words.type == "local" or key == "path":
            raise UsageError(f"--{key.replace('_', '-')}: does not belong to a datastore of type {words.type}")
    return _completed(decode_datastore(fields, f"datastore {words.name}"), secret, cwd, f"datastore {words.name}")


def _filled(words: DatastoreWords, parsed: ConnectionString, origin: str) -> DatastoreWords:
    words = replace(words, account_name=words.account_name or parsed.account_name)
    if words.endpoint and words.protocol:
        return words
    found = parsed.datastore_endpoint
    if found is None:
        raise UsageError(
            f"{origin}: its BlobEndpoint does not begin with the account's name, which that of a datastore does; "
            "give --endpoint and --protocol"
        )
    return replace(words, endpoint=words.endpoint or found[1], protocol=words.protocol or found[0])


def _placed(words: DatastoreWords, environ: Mapping[str, str]) -> DatastoreWords:
    found = endpoint_of(environ, words.account_name or "")
    if found is None or words.endpoint or words.protocol:
        return words
    return replace(words, endpoint=found[1], protocol=found[0])


def _with_missing_secret(value: dict[str, Any], secret: Secret) -> dict[str, Any]:
    """Return a file's fields with `secret` where they say whose it is; a key or SAS is nobody's."""
    credentials = value.get("credentials")
    if not isinstance(credentials, dict):
        return value
    field = next((field for owner, field in _OWNED.items() if owner in credentials), None)
    return value if field is None else {**value, "credentials": {**credentials, field: secret.text.strip()}}


def _completed(datastore: Datastore, secret: Secret | None, base: Path, origin: str) -> Datastore:
    if isinstance(datastore, LocalDatastore):
        if secret is not None:
            raise UsageError(f"{secret.origin}: a local datastore takes no credential")
        directory = os.path.abspath(base / datastore.path)
        if not Path(directory).is_dir():
            raise NotFoundError(f"{origin}: path: {directory} is no directory; make it first")
        return msgspec.structs.replace(datastore, path=directory)
    if secret is None:
        return datastore
    if datastore.credentials is not None and datastore.credentials.kind in {"service_principal", "password"}:
        return datastore  # it is in there already
    if not isinstance(datastore, BlobDatastore | FileDatastore):
        raise UsageError(f"{secret.origin}: whose it is must be said in the file: tenant_id and client_id, or username")
    parsed = secret.connection_string
    if parsed is not None and parsed.account_name != datastore.account_name:
        raise UsageError(
            f"{secret.origin}: is for the account {parsed.account_name}, the datastore's is {datastore.account_name}"
        )
    return check_datastore(msgspec.structs.replace(datastore, credentials=secret.credentials()), secret.origin)
