"""Azure databases for MySQL."""

from mountd.azureml.absent import absent
from mountd.azureml.data.abstract_datastore import AbstractDatastore


class AzureMySqlDatastore(AbstractDatastore):
    """A MySQL database."""

    datastore_type = "AzureMySql"
    _shown = (("name", "name"), ("server_name", "server_name"), ("database_name", "database_name"))


__getattr__ = absent(__name__)
