"""A data reference as a run configuration holds it."""

from dataclasses import dataclass

from mountd.azureml.absent import PartlyAbsent, absent


@dataclass(slots=True)
class DataReferenceConfiguration(PartlyAbsent):
    """One entry of `RunConfiguration.data_references`; what is None was not said."""

    datastore_name: str | None = None
    mode: str = "mount"
    path_on_datastore: str | None = None
    path_on_compute: str | None = None
    overwrite: bool = False


__getattr__ = absent(__name__)
