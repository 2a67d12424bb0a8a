"""Estimators: the older way to configure a run."""

from typing import Any

from mountd.azureml.absent import NotPartOfMountdError, PartlyAbsent, absent
from mountd.azureml.core.environment import Environment
from mountd.azureml.core.runconfig import RunConfiguration
from mountd.azureml.core.submission import DataOfRun
from mountd.azureml.data.azure_storage_datastore import AbstractAzureStorageDatastore
from mountd.azureml.data.data_reference import DataReference
from mountd.azureml.data.dataset_consumption_config import DatasetConsumptionConfig
from mountd.azureml.errors import UserErrorException

_LEFT = frozenset(
    {
        "vm_size",
        "vm_priority",
        "process_count_per_node",
        "use_gpu",
        "use_docker",
        "custom_docker_base_image",
        "custom_docker_image",
        "image_registry_details",
        "user_managed",
        "conda_packages",
        "pip_packages",
        "conda_dependencies_file_path",
        "pip_requirements_file_path",
        "conda_dependencies_file",
        "pip_requirements_file",
        "shm_size",
    }
)
"""What is about machines and images: taken and left, since the script runs on this node as it is."""


class Estimator(PartlyAbsent):
    """What `Experiment.submit` takes."""

    def __init__(
        self,
        source_directory: str,
        *,
        compute_target: Any = None,
        entry_script: str | None = None,
        script_params: dict[str, Any] | None = None,
        node_count: int = 1,
        environment_variables: dict[str, str] | None = None,
        environment_definition: Environment | None = None,
        inputs: list[Any] | None = None,
        source_directory_data_store: Any = None,
        max_run_duration_seconds: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Configure a run.

        Args:
            source_directory: its content is copied to be the script's working directory.
            compute_target: taken and left: the run is on this node.
            entry_script: the Python script in it.
            script_params: the script's arguments: option and value. A value may be data; an empty one is left out.
            node_count: 1.
            environment_variables: set for the script.
            environment_definition: its variables are set for the script.
            inputs: data references and datasets besides those in `script_params`.
            source_directory_data_store: the datastore by way of which the code reaches the run.
            max_run_duration_seconds: after which the script is ended.
            kwargs: what is about machines and images is taken and left.

        Raises:
            UserErrorException: something is missing, or not part of mountd, or two references have one name.
        """
        for name, value in kwargs.items():
            if name not in _LEFT and value is not None:
                raise NotPartOfMountdError(f"Estimator({name}=…)")
        if node_count != 1:
            raise UserErrorException("Estimator: a run of mountd has one node; leave node_count out.")
        if entry_script is None:
            raise UserErrorException("Estimator: entry_script is missing.")
        config = RunConfiguration(entry_script)
        config.target = "local" if compute_target is None else compute_target
        config.environment = environment_definition or Environment("default")
        config.environment_variables = dict(environment_variables or {})
        config.source_directory_data_store = getattr(source_directory_data_store, "name", source_directory_data_store)
        config.max_run_duration_seconds = max_run_duration_seconds
        for option, value in (script_params or {}).items():
            config.arguments += [option] if value == "" else [option, value]
        data = DataOfRun()  # finds out now whether two references have one name
        for item in inputs or []:
            _add(config, item)
        for value in (*(inputs or []), *(script_params or {}).values()):
            if isinstance(value, DataReference | AbstractAzureStorageDatastore | DatasetConsumptionConfig):
                data.word(value)
        self.source_directory = source_directory
        self.run_config = config


def _add(config: RunConfiguration, item: object) -> None:
    reference = item.as_mount() if isinstance(item, AbstractAzureStorageDatastore) else item
    if isinstance(reference, DataReference):
        known = config.data_references.setdefault(reference.data_reference_name, reference.to_config())
        if known != reference.to_config():
            raise UserErrorException(
                f"Two different data references have the name {reference.data_reference_name}; give one a name: "
                "datastore.path(…, data_reference_name='other')."
            )
    elif isinstance(item, DatasetConsumptionConfig):
        config.data[item.name] = item
    else:
        raise UserErrorException("inputs are data references, datastores, or datasets as named inputs.")


__getattr__ = absent(__name__)
