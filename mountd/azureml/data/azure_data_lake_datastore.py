"""Data Lake datastores of both generations."""

from mountd.azureml.absent import absent
from mountd.azureml.data.abstract_datastore import AbstractDatastore


class AzureDataLakeDatastore(AbstractDatastore):
    """A Data Lake of the first generation."""

    datastore_type = "AzureDataLake"
    _shown = (("name", "name"), ("store_name", "store_name"))


class AzureDataLakeGen2Datastore(AbstractDatastore):
    """A file system of a Data Lake of the second generation."""

    datastore_type = "AzureDataLakeGen2"
    _shown = (
        ("name", "name"),
        ("container_name", "filesystem"),
        ("account_name", "account_name"),
        ("protocol", "protocol"),
        ("endpoint", "endpoint"),
    )


__getattr__ = absent(__name__)
