"""Which class stands for which kind of datastore in the workspace's files."""

from mountd.azureml.data.abstract_datastore import AbstractDatastore
from mountd.azureml.data.azure_data_lake_datastore import AzureDataLakeDatastore, AzureDataLakeGen2Datastore
from mountd.azureml.data.azure_my_sql_datastore import AzureMySqlDatastore
from mountd.azureml.data.azure_postgre_sql_datastore import AzurePostgreSqlDatastore
from mountd.azureml.data.azure_sql_database_datastore import AzureSqlDatabaseDatastore
from mountd.azureml.data.azure_storage_datastore import AzureBlobDatastore, AzureFileDatastore, LocalDatastore
from mountd.azureml.home import Home
from mountd.catalog.datastore import Datastore as Record

_CLASSES: dict[str, type[AbstractDatastore]] = {
    "azure_blob": AzureBlobDatastore,
    "azure_file": AzureFileDatastore,
    "azure_data_lake_gen1": AzureDataLakeDatastore,
    "azure_data_lake_gen2": AzureDataLakeGen2Datastore,
    "azure_sql_database": AzureSqlDatabaseDatastore,
    "azure_postgresql": AzurePostgreSqlDatastore,
    "azure_mysql": AzureMySqlDatastore,
    "local": LocalDatastore,
}


def datastore_object(workspace: Home, record: Record) -> AbstractDatastore:
    """Return the object for `record`, by its type."""
    return _CLASSES[str(record.__struct_config__.tag)](workspace, record)
