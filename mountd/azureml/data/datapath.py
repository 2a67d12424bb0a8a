"""A path in a datastore, as a value."""

from dataclasses import dataclass

from mountd.azureml.absent import PartlyAbsent, absent
from mountd.azureml.data.abstract_datastore import AbstractDatastore


@dataclass(frozen=True, slots=True)
class DataPath(PartlyAbsent):
    """A place in a datastore: a file, a directory, or a pattern with `*` and `**`."""

    datastore: AbstractDatastore | None = None
    path_on_datastore: str | None = None
    name: str | None = None


__getattr__ = absent(__name__)
