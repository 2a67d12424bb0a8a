"""Datastores: registered, looked up, and the default one.

Registering writes a file of the workspace, in the schema of Azure ML's YAML; storage is asked only where something is
to be made there. `Datastore` itself has no instances: it answers with the class of the kind.
"""

import logging
import os
from typing import Any, TypeVar

from mountd.azureml.absent import PartlyAbsent, absent
from mountd.azureml.core.workspace import Workspace
from mountd.azureml.data.abstract_datastore import AbstractDatastore
from mountd.azureml.data.azure_data_lake_datastore import AzureDataLakeDatastore, AzureDataLakeGen2Datastore
from mountd.azureml.data.azure_my_sql_datastore import AzureMySqlDatastore
from mountd.azureml.data.azure_postgre_sql_datastore import AzurePostgreSqlDatastore
from mountd.azureml.data.azure_sql_database_datastore import AzureSqlDatabaseDatastore
from mountd.azureml.data.azure_storage_datastore import AzureBlobDatastore, AzureFileDatastore
from mountd.azureml.data.kinds import datastore_object
from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.catalog.connection_string import endpoint_of
from mountd.catalog.datastore import BlobDatastore, decode_datastore
from mountd.catalog.datastore import Datastore as Record
from mountd.errors import ExistsError

_PRINCIPAL = ("tenant_id", "client_id", "client_secret")
_log = logging.getLogger(__name__)

Kind = TypeVar("Kind", bound=AbstractDatastore)


class Datastore(PartlyAbsent):
    """Entry to the datastores of a workspace; `Datastore(workspace)` is the default one."""

    def __new__(cls, workspace: Workspace, name: str | None = None) -> AbstractDatastore:  # type: ignore[misc] # Azure ML's own way
        """Return the datastore `name`, or the default one."""
        return workspace.get_default_datastore() if name is None else cls.get(workspace, name)

    @staticmethod
    def get(workspace: Workspace, datastore_name: str) -> AbstractDatastore:
        """Return the datastore `datastore_name`.

        Raises:
            UserErrorException: there is none of that name.
        """
        with as_api_errors():
            return datastore_object(workspace, workspace.catalog.datastore(datastore_name))

    @staticmethod
    def get_default(workspace: Workspace) -> AbstractDatastore:
        """Return the default datastore."""
        return workspace.get_default_datastore()

    @staticmethod
    def register_azure_blob_container(
        workspace: Workspace,
        datastore_name: str,
        container_name: str,
        account_name: str,
        sas_token: str | None = None,
        account_key: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        create_if_not_exists: bool = False,
        skip_validation: bool = False,
        blob_cache_timeout: int | None = None,
        grant_workspace_access: bool = False,
        subscription_id: str | None = None,
        resource_group: str | None = None,
    ) -> AzureBlobDatastore:
        """Register a Blob container, and make it in the account if `create_if_not_exists`.

        Without `protocol` and `endpoint`, those of `$AZURE_STORAGE_CONNECTION_STRING` if it is for this account: an
        emulator's, for instance.
        `blob_cache_timeout` is seconds. What only Azure's own service could act upon is taken and left: validation,
        access of the workspace, subscription and resource group.

        Raises:
            UserErrorException: a value is wrong, or the name is taken and `overwrite` is false.
            AzureMLException: the container could not be made.
        """
        del skip_validation, grant_workspace_access, subscription_id, resource_group
        if protocol is None and endpoint is None:
            protocol, endpoint = endpoint_of(os.environ, account_name) or (None, None)
        record = _record(
            "azure_blob",
            name=datastore_name,
            account_name=account_name,
            container_name=container_name,
            endpoint=endpoint,
            protocol=protocol,
            credentials=_key_or_sas(account_key, sas_token),
            blob_cache_timeout=blob_cache_timeout,
        )
        return _registered(workspace, record, AzureBlobDatastore, overwrite=overwrite, create=create_if_not_exists)

    @staticmethod
    def register_azure_file_share(
        workspace: Workspace,
        datastore_name: str,
        file_share_name: str,
        account_name: str,
        sas_token: str | None = None,
        account_key: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        create_if_not_exists: bool = False,
        skip_validation: bool = False,
    ) -> AzureFileDatastore:
        """Register a file share; errors as for a Blob container."""
        del skip_validation
        record = _record(
            "azure_file",
            name=datastore_name,
            account_name=account_name,
            file_share_name=file_share_name,
            endpoint=endpoint,
            protocol=protocol,
            credentials=_key_or_sas(account_key, sas_token),
        )
        return _registered(workspace, record, AzureFileDatastore, overwrite=overwrite, create=create_if_not_exists)

    @staticmethod
    def register_azure_data_lake(
        workspace: Workspace,
        datastore_name: str,
        store_name: str,
        tenant_id: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        resource_url: str | None = None,
        authority_url: str | None = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        overwrite: bool = False,
        grant_workspace_access: bool = False,
    ) -> AzureDataLakeDatastore:
        """Register a Data Lake of the first generation; errors as for a Blob container."""
        del subscription_id, resource_group, grant_workspace_access
        credentials = _principal(tenant_id, client_id, client_secret, resource_url, authority_url)
        record = _record("azure_data_lake_gen1", name=datastore_name, store_name=store_name, credentials=credentials)
        return _registered(workspace, record, AzureDataLakeDatastore, overwrite=overwrite)

    @staticmethod
    def register_azure_data_lake_gen2(
        workspace: Workspace,
        datastore_name: str,
        filesystem: str,
        account_name: str,
        tenant_id: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        resource_url: str | None = None,
        authority_url: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        grant_workspace_access: bool = False,
    ) -> AzureDataLakeGen2Datastore:
        """Register a file system of a Data Lake of the second generation; errors as for a Blob container."""
        del subscription_id, resource_group, grant_workspace_access
        record = _record(
            "azure_data_lake_gen2",
            name=datastore_name,
            account_name=account_name,
            filesystem=filesystem,
            endpoint=endpoint,
            protocol=protocol,
            credentials=_principal(tenant_id, client_id, client_secret, resource_url, authority_url),
        )
        return _registered(workspace, record, AzureDataLakeGen2Datastore, overwrite=overwrite)

    @staticmethod
    def register_azure_sql_database(
        workspace: Workspace,
        datastore_name: str,
        server_name: str,
        database_name: str,
        tenant_id: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        resource_url: str | None = None,
        authority_url: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        username: str | None = None,
        password: str | None = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        grant_workspace_access: bool = False,
        **kwargs: Any,
    ) -> AzureSqlDatabaseDatastore:
        """Register an Azure SQL database; errors as for a Blob container."""
        del subscription_id, resource_group, grant_workspace_access, kwargs
        credentials = _principal(tenant_id, client_id, client_secret, resource_url, authority_url)
        if username is not None or password is not None:
            credentials = {"username": username, "password": password}
        record = _record(
            "azure_sql_database",
            name=datastore_name,
            server_name=server_name,
            database_name=database_name,
            endpoint=endpoint,
            credentials=credentials,
        )
        return _registered(workspace, record, AzureSqlDatabaseDatastore, overwrite=overwrite)

    @staticmethod
    def register_azure_postgre_sql(
        workspace: Workspace,
        datastore_name: str,
        server_name: str,
        database_name: str,
        user_id: str,
        user_password: str,
        port_number: int | str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        enforce_ssl: bool = True,
        **kwargs: Any,
    ) -> AzurePostgreSqlDatastore:
        """Register a PostgreSQL database; errors as for a Blob container."""
        del kwargs
        _required("PostreSQL", server_name, database_name, user_id, user_password)  # the spelling is Azure ML's
        record = _record(
            "azure_postgresql",
            name=datastore_name,
            server_name=server_name,
            database_name=database_name,
            endpoint=endpoint,
            port_number=_port(port_number),
            enforce_ssl=enforce_ssl,
            credentials={"username": user_id, "password": user_password},
        )
        return _registered(workspace, record, AzurePostgreSqlDatastore, overwrite=overwrite)

    @staticmethod
    def register_azure_my_sql(
        workspace: Workspace,
        datastore_name: str,
        server_name: str,
        database_name: str,
        user_id: str,
        user_password: str,
        port_number: int | str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> AzureMySqlDatastore:
        """Register a MySQL database; errors as for a Blob container."""
        del kwargs
        _required("MySQL", server_name, database_name, user_id, user_password)
        record = _record(
            "azure_mysql",
            name=datastore_name,
            server_name=server_name,
            database_name=database_name,
            endpoint=endpoint,
            port_number=_port(port_number),
            credentials={"username": user_id, "password": user_password},
        )
        return _registered(workspace, record, AzureMySqlDatastore, overwrite=overwrite)


def _record(kind: str, *, name: str | None, **fields: Any) -> Record:
    if name is not None and name != name.lower():
        _log.warning("Datastore name %s contains capital letters. They will be converted to lowercase letters.", name)
    said = {key: value for key, value in fields.items() if value is not None}
    with as_api_errors():
        return decode_datastore({"type": kind, "name": name, **said}, f"datastore {name}")


def _registered(
    workspace: Workspace, record: Record, kind: type[Kind], *, overwrite: bool, create: bool = False
) -> Kind:
    if create:
        _make(workspace, record)
    with as_api_errors():
        try:
            return kind(workspace, workspace.catalog.add(record, overwrite=overwrite))
        except ExistsError:
            raise UserErrorException(
                f"Another datastore with the same name already exists: {record.name}. overwrite=True replaces it."
            ) from None


def _make(workspace: Workspace, record: Record) -> None:
    """Make the container of a Blob datastore."""
    if not isinstance(record, BlobDatastore):
        _log.warning("%s: this kind of storage is not made from here; make it first", record.name)
        return
    from mountd.stores.create import create_container  # noqa: PLC0415 - storage libraries: half a second

    with as_api_errors():
        create_container(record.store(workspace.catalog.datastores_directory))


def _key_or_sas(account_key: str | None, sas_token: str | None) -> dict[str, str] | None:
    if account_key:
        return {"account_key": account_key}
    return {"sas_token": sas_token} if sas_token else None


def _principal(
    tenant_id: str | None,
    client_id: str | None,
    client_secret: str | None,
    resource_url: str | None,
    authority_url: str | None,
) -> dict[str, Any] | None:
    given = [value is not None for value in (tenant_id, client_id, client_secret)]
    if not any(given):
        return None
    if not all(given):
        raise UserErrorException("Tenant id, client id and client secret have to be defined together.")
    named = dict(zip(_PRINCIPAL, (tenant_id, client_id, client_secret), strict=True))
    urls = {"resource_url": resource_url, "authority_url": authority_url}
    return named | {key: value for key, value in urls.items() if value is not None}


def _port(number: int | str | None) -> int | str | None:
    """Return `number` as a number if it is one; the datastore says what is wrong with any other."""
    return int(number) if isinstance(number, str) and number.isdecimal() else number


def _required(what: str, server_name: str, database_name: str, user_id: str, user_password: str) -> None:
    named = {
        "Server name": server_name,
        "Database name": database_name,
        "User id": user_id,
        "User password": user_password,
    }
    for name, value in named.items():
        if value is None:
            raise UserErrorException(f"{name} is required for {what}.")


__getattr__ = absent(__name__)
