"""A place in a datastore and the way a run gets at it: mounted, downloaded before, or uploaded after.

`str` of a reference is the variable that holds the path on the compute: `$AZUREML_DATAREFERENCE_<name>`.
"""

import uuid

from mountd.azureml.absent import PartlyAbsent, absent
from mountd.azureml.data.abstract_datastore import AbstractDatastore
from mountd.azureml.data.data_reference_configuration import DataReferenceConfiguration
from mountd.azureml.errors import UserErrorException

MODES = ("mount", "download", "upload")
_ROOTS = (None, "", "/", ".", "./")


class DataReference(PartlyAbsent):
    """A reference. Its methods return new ones; the name stays, so that all of them mean one variable.

    The name is `data_reference_name`, else the datastore's for its root, else 32 random hexadecimal digits.
    """

    def __init__(
        self,
        datastore: AbstractDatastore,
        data_reference_name: str | None = None,
        path_on_datastore: str | None = None,
        mode: str = "mount",
        path_on_compute: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Args are Azure ML's.

        Raises:
            UserErrorException: `mode` is none of mount, download and upload.
        """
        mode = str(mode).lower()
        if mode not in MODES:
            raise UserErrorException(f"Invalid mode {mode}. Only mount, download, upload are supported")
        self.datastore = datastore
        self.path_on_datastore = path_on_datastore
        self.mode = mode
        self.path_on_compute = path_on_compute
        self.overwrite = overwrite
        at_root = path_on_datastore in _ROOTS
        self.data_reference_name = data_reference_name or (datastore.name if at_root else uuid.uuid4().hex)

    def path(self, path: str | None = None, data_reference_name: str | None = None) -> "DataReference":
        """Return a reference to `path` below this one."""
        parts = [part for part in (self.path_on_datastore, path) if part not in (None, "")]
        if not parts:
            return DataReference(self.datastore, data_reference_name)
        return DataReference(self.datastore, data_reference_name, "/".join(str(part) for part in parts))

    def as_mount(self) -> "DataReference":
        """Return the reference, to be mounted while the script runs."""
        return self._clone("mount", None)

    def as_download(self, path_on_compute: str | None = None, overwrite: bool = False) -> "DataReference":
        """Return the reference, to be downloaded before the script runs; a run always downloads what is there now."""
        del overwrite  # Azure ML ignores it too
        return self._clone("download", path_on_compute)

    def as_upload(self, path_on_compute: str | None = None, overwrite: bool = False) -> "DataReference":
        """Return the reference, to be uploaded from `path_on_compute` after the script ran."""
        del overwrite
        return self._clone("upload", path_on_compute)

    def to_config(self) -> DataReferenceConfiguration:
        """Return it for `RunConfiguration.data_references`."""
        return DataReferenceConfiguration(
            datastore_name=self.datastore.name,
            mode=self.mode,
            path_on_datastore=None if self.path_on_datastore in _ROOTS else self.path_on_datastore,
            path_on_compute=self.path_on_compute,
            overwrite=self.overwrite,
        )

    def _clone(self, mode: str, path_on_compute: str | None) -> "DataReference":
        return DataReference(
            self.datastore, self.data_reference_name, self.path_on_datastore, mode, path_on_compute, self.overwrite
        )

    def __repr__(self) -> str:
        return f"$AZUREML_DATAREFERENCE_{self.data_reference_name}"

    __str__ = __repr__


__getattr__ = absent(__name__)
