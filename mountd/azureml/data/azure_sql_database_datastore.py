"""Azure SQL databases."""

from mountd.azureml.absent import absent
from mountd.azureml.data.abstract_datastore import AbstractDatastore


class AzureSqlDatabaseDatastore(AbstractDatastore):
    """A database of an Azure SQL server."""

    datastore_type = "AzureSqlDatabase"
    _shown = (("name", "name"), ("server_name", "server_name"), ("database_name", "database_name"))


__getattr__ = absent(__name__)
