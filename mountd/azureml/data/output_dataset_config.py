"""Where a run leaves files that are to be kept: a directory for the script, uploaded to a datastore after it."""

import secrets
from typing import Any

from mountd.azureml.absent import NotPartOfMountdError, PartlyAbsent, absent
from mountd.azureml.data.abstract_datastore import AbstractDatastore
from mountd.azureml.errors import UserErrorException

# Refused where it would have to be kept, not where it is written: `as_mount` is Azure ML's default.
_MOUNTED = (
    "Writing through a mount is not in this version of mountd: call .as_upload() on the OutputFileDatasetConfig; what "
    "the script leaves in its directory is then uploaded after it."
)


class OutputFileDatasetConfig(PartlyAbsent):
    """An output of a run. Its methods return new ones."""

    def __init__(
        self,
        name: str | None = None,
        destination: Any = None,
        source: str | None = None,
        partition_format: str | None = None,
    ) -> None:
        """Describe an output.

        Args:
            name: its name; one is made up if left out.
            destination: a datastore and a path in it, where `{run-id}` and `{output-name}` are replaced; without it
                `/dataset/{run-id}/{output-name}` of `workspaceblobstore`.
            source: where the script leaves its files; a directory of the run's own if left out.
            partition_format: not part of mountd.

        Raises:
            UserErrorException: `destination` is no such tuple.
        """
        if partition_format is not None:
            raise NotPartOfMountdError("partition_format")
        if destination is not None and not (
            isinstance(destination, tuple) and len(destination) == 2 and isinstance(destination[0], AbstractDatastore)
        ):
            raise UserErrorException("destination is a tuple of a datastore and a path.")
        self.name = name or f"output_{secrets.token_hex(4)}"
        self.destination: tuple[AbstractDatastore, str] | None = destination
        self.source = source
        self.mode = "mount"
        self.overwrite = False
        self.source_globs: tuple[str, ...] = ()
        self.registered_name: str | None = None
        self.registered_description: str | None = None
        self.registered_tags: dict[str, str] = {}

    def as_upload(
        self, overwrite: bool = False, source_globs: str | list[str] | None = None
    ) -> "OutputFileDatasetConfig":
        """Return it, to be uploaded when the script has ended.

        Args:
            overwrite: replace files that exist.
            source_globs: which of the files; all if left out.
        """
        other = self._copy()
        other.mode = "upload"
        other.overwrite = overwrite
        other.source_globs = (source_globs,) if isinstance(source_globs, str) else tuple(source_globs or ())
        return other

    def as_mount(self, disable_metadata_cache: bool = False) -> "OutputFileDatasetConfig":
        """Return it, to be written through a mount, which this version refuses when the run is submitted."""
        del disable_metadata_cache
        other = self._copy()
        other.mode = "mount"
        return other

    def register_on_complete(
        self, name: str, description: str | None = None, tags: dict[str, str] | None = None
    ) -> "OutputFileDatasetConfig":
        """Return it, to become a new version of the dataset `name` once a run that succeeded has uploaded it."""
        other = self._copy()
        other.registered_name = name
        other.registered_description = description
        other.registered_tags = dict(tags or {})
        return other

    def check(self) -> None:
        """See that a run can do it (mountd's own name).

        Raises:
            UserErrorException: it is to be written through a mount.
        """
        if self.mode != "upload":
            raise UserErrorException(_MOUNTED)

    def _copy(self) -> "OutputFileDatasetConfig":
        other = OutputFileDatasetConfig(self.name, self.destination, self.source)
        other.mode = self.mode
        other.overwrite = self.overwrite
        other.source_globs = self.source_globs
        other.registered_name = self.registered_name
        other.registered_description = self.registered_description
        other.registered_tags = self.registered_tags
        return other


__getattr__ = absent(__name__)
