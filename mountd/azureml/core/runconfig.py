"""What a run is configured with, beyond its script."""

from typing import Any

from mountd.azureml.absent import AbsentMemberError, PartlyAbsent, absent
from mountd.azureml.core.environment import Environment
from mountd.azureml.data.data_reference import DataReference
from mountd.azureml.data.data_reference_configuration import DataReferenceConfiguration
from mountd.azureml.data.dataset_consumption_config import DatasetConsumptionConfig
from mountd.azureml.data.output_dataset_config import OutputFileDatasetConfig

_FIELDS = (
    "script",
    "arguments",
    "command",
    "target",
    "environment",
    "environment_variables",
    "data_references",
    "data",
    "output_data",
    "source_directory_data_store",
    "max_run_duration_seconds",
)


class RunConfiguration(PartlyAbsent):
    """The configuration; `target` is taken and left: everything runs on this node."""

    def __init__(self, script: str | None = None, arguments: list[Any] | None = None) -> None:
        self.script = script
        self.arguments: list[Any] = list(arguments or [])
        self.command: str | list[Any] | None = None
        self.target: Any = "local"
        self.environment = Environment("default")
        self.environment_variables: dict[str, str] = {}
        self.data_references: dict[str, DataReference | DataReferenceConfiguration] = {}
        self.data: dict[str, DatasetConsumptionConfig] = {}
        self.output_data: dict[str, OutputFileDatasetConfig] = {}
        self.source_directory_data_store: str | None = None
        self.max_run_duration_seconds: int | None = None

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _FIELDS:
            raise AbsentMemberError(f"RunConfiguration.{name}")
        super().__setattr__(name, value)


__all__ = ["DataReferenceConfiguration", "RunConfiguration"]

__getattr__ = absent(__name__)
