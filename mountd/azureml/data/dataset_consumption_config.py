"""How a run gets at a dataset: mounted, downloaded, or as its id."""

import logging
import re
import secrets
from typing import Any

from mountd.azureml.absent import NotPartOfMountdError, PartlyAbsent, absent
from mountd.azureml.data.abstract_dataset import AbstractDataset
from mountd.azureml.errors import UserErrorException

_MODES = ("direct", "download", "mount")
_ABSENT_MODES = ("hdfs", "link")
_NAME = re.compile(r"^[a-zA-Z_]+[a-zA-Z0-9_]*$")
_RISKY = frozenset({"path", "ld_library_path", "user", "logname", "home", "pwd", "shell"})
_log = logging.getLogger(__name__)


class DatasetConsumptionConfig(PartlyAbsent):
    """A dataset as a named input of a run; its methods return new ones."""

    def __init__(
        self, name: str, dataset: AbstractDataset, mode: str = "direct", path_on_compute: str | None = None
    ) -> None:
        """Args are Azure ML's.

        Raises:
            UserErrorException: the name or the mode cannot be, or the dataset's kind does not allow the mode.
        """
        if not _NAME.match(name):
            raise UserErrorException(
                f'Invalid input name "{name}". The name can only be alphanumeric characters and underscore, and must '
                "not begin with a number."
            )
        if name.lower() in _RISKY:
            _log.warning("The input name %s is that of a variable of the system, which keeps its value.", name)
        mode = str(mode).lower()
        if mode in _ABSENT_MODES:
            raise NotPartOfMountdError(f"Mode '{mode}' of a dataset")
        if mode not in _MODES:
            raise UserErrorException(f"Invalid mode '{mode}'. Mode can only be mount, download, hdfs, link, or direct")
        if mode != "direct" and not getattr(dataset, "_has_files", False):
            raise UserErrorException(
                f"{type(dataset).__name__} does not support {mode}. Only FileDataset supports {mode}"
            )
        self.name = name
        self.dataset = dataset
        self.mode = mode
        self.path_on_compute = path_on_compute

    @classmethod
    def unnamed(cls, dataset: AbstractDataset, mode: str, path_on_compute: str | None) -> "DatasetConsumptionConfig":
        """Return a configuration under a name made up from the dataset's id (mountd's own name)."""
        part = dataset.id[:8] if dataset.id else secrets.token_hex(4)
        return cls(f"input__{part}", dataset, mode, path_on_compute)

    def as_mount(self, path_on_compute: str | None = None) -> "DatasetConsumptionConfig":
        """Return it, to be mounted while the script runs; a relative path is below its working directory."""
        return DatasetConsumptionConfig(self.name, self.dataset, "mount", path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> "DatasetConsumptionConfig":
        """Return it, to be downloaded before the script runs; a relative path is below its working directory."""
        return DatasetConsumptionConfig(self.name, self.dataset, "download", path_on_compute)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatasetConsumptionConfig) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self.name)

    def _parts(self) -> tuple[Any, ...]:
        return self.name, self.mode, self.path_on_compute, self.dataset.definition, self.dataset.id


__getattr__ = absent(__name__)
