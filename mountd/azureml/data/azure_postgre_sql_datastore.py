"""Azure databases for PostgreSQL."""

from mountd.azureml.absent import absent
from mountd.azureml.data.abstract_datastore import AbstractDatastore


class AzurePostgreSqlDatastore(AbstractDatastore):
    """A PostgreSQL database."""

    datastore_type = "AzurePostgreSql"
    _shown = (("name", "name"), ("server_name", "server_name"), ("database_name", "database_name"))


__getattr__ = absent(__name__)
