"""Every kind of datastore: its fields, and what they must look like.

Field names are those of Azure ML's CLI v2 where it has the kind; databases, `type: local`, `blob_cache_timeout` and the
emulator's endpoints are extensions. A kind whose storage this version cannot open is kept all the same: it is
registered, listed and shown, and says so when it is to be opened.
"""

import math
import re
from pathlib import Path
from typing import Any, Literal, NoReturn, Self, TypeVar

import msgspec

from mountd.catalog.credentials import CredentialKind, Credentials, check_credentials
from mountd.catalog.model import Anonymous, BlobSpec, LeafSpec, LocalSpec
from mountd.catalog.naming import (
    CONTAINER_RULE,
    account_url,
    is_account_name,
    is_container_name,
    is_emulator_host,
    split_host,
)
from mountd.errors import UsageError

Tags = dict[str, str | int | float | bool | None]
D = TypeVar("D", bound="DatastoreFields")

_KEYS: tuple[CredentialKind, ...] = ("account_key", "sas_token")
_PRINCIPALS: tuple[CredentialKind, ...] = ("service_principal", "certificate")
_LOGINS: tuple[CredentialKind, ...] = ("password",)
_GEN1_STORE = re.compile(r"[a-z0-9]{3,24}")
_SERVER = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9.-]+)?")
_SCHEMAS = "https://azuremlschemas.azureedge.net/latest/"


class DatastoreFields(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="type",
    rename={"schema": "$schema"},
):
    """What all kinds have in common."""

    schema: str | None = None
    id: str | None = None
    """Azure's own name of a datastore that was read from there; not stored."""
    name: str
    description: str | None = None
    tags: Tags = {}

    @property
    def type(self) -> str:
        """The kind, as YAML has it."""
        return str(self.__struct_config__.tag)

    @property
    def schema_url(self) -> str | None:
        """The CLI v2 schema of the kind, None for extensions."""
        return None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        raise NotImplementedError

    @property
    def attr_ttl_s(self) -> float | None:
        """For how many seconds mounts may use attributes without asking, if the datastore says."""
        return None

    def store(self, directory: Path) -> LeafSpec:
        """Return the store to open; relative paths start at `directory`.

        Raises:
            UsageError: this version has none for the kind.
        """
        raise NotImplementedError

    def checked(self, origin: str) -> Self:
        """Return the datastore in its stored form.

        Raises:
            UsageError: a field holds what none of this kind can have; `origin` names the file.
        """
        raise NotImplementedError

    def _no_store(self, kind: str, instead: str) -> NoReturn:
        raise UsageError(f"datastore {self.name}: this version cannot open {kind}; {instead}")


class _StorageAccount(DatastoreFields, frozen=True, kw_only=True):
    account_name: str
    endpoint: str = "core.windows.net"
    protocol: Literal["http", "https"] = "https"
    credentials: Credentials | None = None

    def _checked_account(self, origin: str, allowed: tuple[CredentialKind, ...]) -> Self:
        if split_host(self.endpoint) is None:
            raise UsageError(f"{origin}: endpoint: must be a host, such as core.windows.net or 127.0.0.1:10000")
        if not is_account_name(self.account_name, emulated=is_emulator_host(self.endpoint)):
            raise UsageError(f"{origin}: account_name: must be a storage account's: 3 to 24 of a-z and 0-9")
        return _with_credentials(self, self.credentials, origin, allowed)


class BlobDatastore(_StorageAccount, frozen=True, kw_only=True, tag="azure_blob"):
    """A Blob container."""

    container_name: str
    blob_cache_timeout: int | float | None = None
    """Seconds that mounts may use attributes and listings without asking; None is the mount's own default."""

    @property
    def schema_url(self) -> str | None:
        """The CLI v2 schema of the kind."""
        return f"{_SCHEMAS}azureBlob.schema.json"

    @property
    def account_url(self) -> str:
        """The Blob service's URL, without a trailing slash."""
        return account_url(self.protocol, self.endpoint, self.account_name)

    @property
    def place(self) -> str:
        """The container's URL."""
        return f"{self.account_url}/{self.container_name}"

    @property
    def attr_ttl_s(self) -> float | None:
        """`blob_cache_timeout`."""
        return None if self.blob_cache_timeout is None else float(self.blob_cache_timeout)

    def store(self, directory: Path) -> LeafSpec:
        """Return the container; `directory` is not used."""
        del directory
        return BlobSpec(
            account_name=self.account_name,
            container=self.container_name,
            account_url=self.account_url,
            credential=self.credentials.credential if self.credentials else Anonymous(),
        )

    def checked(self, origin: str) -> Self:
        """Return the stored form."""
        found = self._checked_account(origin, _KEYS)
        _check_container(found.container_name, "container_name", "a container's", origin)
        timeout = found.blob_cache_timeout
        if timeout is not None and not (timeout >= 0 and math.isfinite(timeout)):
            raise UsageError(f"{origin}: blob_cache_timeout: must be seconds, 0 or more")
        return found


class FileDatastore(_StorageAccount, frozen=True, kw_only=True, tag="azure_file"):
    """A share of Azure Files."""

    file_share_name: str

    @property
    def schema_url(self) -> str | None:
        """The CLI v2 schema of the kind."""
        return f"{_SCHEMAS}azureFile.schema.json"

    @property
    def account_url(self) -> str:
        """The File service's URL, without a trailing slash."""
        return account_url(self.protocol, self.endpoint, self.account_name, service="file")

    @property
    def place(self) -> str:
        """The share's URL."""
        return f"{self.account_url}/{self.file_share_name}"

    def store(self, directory: Path) -> LeafSpec:
        """Refuse."""
        del directory
        self._no_store("Azure Files", "it is registered, listed and shown only")

    def checked(self, origin: str) -> Self:
        """Return the stored form."""
        _check_container(self.file_share_name, "file_share_name", "a share's", origin)
        return self._checked_account(origin, _KEYS)


class DataLakeGen2Datastore(_StorageAccount, frozen=True, kw_only=True, tag="azure_data_lake_gen2"):
    """A file system of Data Lake Storage Gen2."""

    filesystem: str

    @property
    def schema_url(self) -> str | None:
        """The CLI v2 schema of the kind."""
        return f"{_SCHEMAS}azureDataLakeGen2.schema.json"

    @property
    def account_url(self) -> str:
        """The Data Lake service's URL, without a trailing slash."""
        return account_url(self.protocol, self.endpoint, self.account_name, service="dfs")

    @property
    def place(self) -> str:
        """The file system's URL."""
        return f"{self.account_url}/{self.filesystem}"

    def store(self, directory: Path) -> LeafSpec:
        """Refuse."""
        del directory
        self._no_store(
            "Data Lake Storage Gen2",
            f"register the account's Blob side instead (type: azure_blob, container_name: {self.filesystem})",
        )

    def checked(self, origin: str) -> Self:
        """Return the stored form."""
        _check_container(self.filesystem, "filesystem", "a file system's", origin)
        return self._checked_account(origin, (*_PRINCIPALS, *_KEYS))


class DataLakeGen1Datastore(DatastoreFields, frozen=True, kw_only=True, tag="azure_data_lake_gen1"):
    """A store of Data Lake Storage Gen1, which Azure has retired."""

    store_name: str
    credentials: Credentials | None = None

    @property
    def schema_url(self) -> str | None:
        """The CLI v2 schema of the kind."""
        return f"{_SCHEMAS}azureDataLakeGen1.schema.json"

    @property
    def place(self) -> str:
        """The store's URL."""
        return f"adl://{self.store_name}.azuredatalakestore.net"

    def store(self, directory: Path) -> LeafSpec:
        """Refuse."""
        del directory
        self._no_store("Data Lake Storage Gen1", "Azure has retired it; move the data to Blob storage")

    def checked(self, origin: str) -> Self:
        """Return the stored form."""
        if not _GEN1_STORE.fullmatch(self.store_name):
            raise UsageError(f"{origin}: store_name: must be a store's: 3 to 24 of a-z and 0-9")
        return _with_credentials(self, self.credentials, origin, _PRINCIPALS)


class _Database(DatastoreFields, frozen=True, kw_only=True):
    server_name: str
    database_name: str

    def store(self, directory: Path) -> LeafSpec:
        """Refuse."""
        del directory
        self._no_store("databases", "they hold no files; export what you need to a datastore that does")

    def _check_database(self, endpoint: str, origin: str) -> None:
        if not _SERVER.fullmatch(self.server_name):
            raise UsageError(f"{origin}: server_name: must be a server's name, such as myserver")
        if not self.database_name.strip() or len(self.database_name) > 128 or not self.database_name.isprintable():
            raise UsageError(f"{origin}: database_name: must be a database's name, of up to 128 characters")
        host = split_host(endpoint)
        if host is None or host[1] is not None:
            raise UsageError(f"{origin}: endpoint: must be a host, such as database.windows.net")

    def _host(self, endpoint: str) -> str:
        return self.server_name if "." in self.server_name else f"{self.server_name}.{endpoint}"


class SqlDatastore(_Database, frozen=True, kw_only=True, tag="azure_sql_database"):
    """An Azure SQL database."""

    endpoint: str = "database.windows.net"
    credentials: Credentials | None = None

    @property
    def place(self) -> str:
        """Server and database."""
        return f"{self._host(self.endpoint)}/{self.database_name}"

    def checked(self, origin: str) -> Self:
        """Return the stored form."""
        self._check_database(self.endpoint, origin)
        return _with_credentials(self, self.credentials, origin, ("service_principal", "password"))


class PostgreSqlDatastore(_Database, frozen=True, kw_only=True, tag="azure_postgresql"):
    """An Azure Database for PostgreSQL."""

    port_number: int = 5432
    endpoint: str = "postgres.database.azure.com"
    enforce_ssl: bool = True
    credentials: Credentials

    @property
    def place(self) -> str:
        """Server, port and database."""
        return f"{self._host(self.endpoint)}:{self.port_number}/{self.database_name}"

    def checked(self, origin: str) -> Self:
        """Return the stored form."""
        self._check_database(self.endpoint, origin)
        _check_port(self.port_number, origin)
        check_credentials(self.credentials, f"{origin}: credentials", _LOGINS)
        return self


class MySqlDatastore(_Database, frozen=True, kw_only=True, tag="azure_mysql"):
    """An Azure Database for MySQL."""

    port_number: int = 3306
    endpoint: str = "mysql.database.azure.com"
    credentials: Credentials

    @property
    def place(self) -> str:
        """Server, port and database."""
        return f"{self._host(self.endpoint)}:{self.port_number}/{self.database_name}"

    def checked(self, origin: str) -> Self:
        """Return the stored form."""
        self._check_database(self.endpoint, origin)
        _check_port(self.port_number, origin)
        check_credentials(self.credentials, f"{origin}: credentials", _LOGINS)
        return self


class LocalDatastore(DatastoreFields, frozen=True, kw_only=True, tag="local"):
    """A directory of this node."""

    path: str
    """Absolute, or relative to the directory of the YAML file."""

    @property
    def place(self) -> str:
        """The directory."""
        return self.path

    def store(self, directory: Path) -> LeafSpec:
        """Return the directory; a relative path starts at `directory`."""
        return LocalSpec(path=str((directory / self.path).resolve()))

    def checked(self, origin: str) -> Self:
        """Return the stored form."""
        if not self.path or "\0" in self.path:
            raise UsageError(f"{origin}: path: must name a directory")
        return self


Datastore = (
    BlobDatastore
    | FileDatastore
    | DataLakeGen1Datastore
    | DataLakeGen2Datastore
    | SqlDatastore
    | PostgreSqlDatastore
    | MySqlDatastore
    | LocalDatastore
)


def _with_credentials(
    datastore: D, credentials: Credentials | None, origin: str, allowed: tuple[CredentialKind, ...]
) -> D:
    """Return `datastore` with its credentials in their stored form; empty ones, as Azure ML writes them, are none."""
    if credentials is None:
        return datastore
    stored = None
    if credentials != Credentials():
        stored = check_credentials(credentials, f"{origin}: credentials", allowed)
    changes: dict[str, Any] = {"credentials": stored}
    return msgspec.structs.replace(datastore, **changes)


def _check_container(name: str, field: str, whose: str, origin: str) -> None:
    if not is_container_name(name):
        raise UsageError(f"{origin}: {field}: must be {whose}: {CONTAINER_RULE}")


def _check_port(port: int, origin: str) -> None:
    if not 0 < port <= 65535:
        raise UsageError(f"{origin}: port_number: must be 1 to 65535")
