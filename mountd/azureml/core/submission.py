"""From a configured run to the job that `mountd.run` carries out. Looks at the workspace's files, never at storage."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from mountd.azureml.core.runconfig import RunConfiguration
from mountd.azureml.core.workspace import Workspace
from mountd.azureml.data.abstract_dataset import AbstractDataset
from mountd.azureml.data.azure_storage_datastore import AbstractAzureStorageDatastore
from mountd.azureml.data.data_reference import DataReference
from mountd.azureml.data.data_reference_configuration import DataReferenceConfiguration
from mountd.azureml.data.dataset_consumption_config import DatasetConsumptionConfig
from mountd.azureml.data.output_dataset_config import OutputFileDatasetConfig
from mountd.azureml.errors import UserErrorException
from mountd.azureml.working_directory import current_directory
from mountd.catalog.workspace_layout import DEFAULT_DATASTORE
from mountd.run.environment import Mode
from mountd.run.job import JobInput, JobOutput, JobSpec, ProgramCommand, ScriptCommand, ShellCommand
from mountd.run.references import reference_input, reference_output

_DESTINATION = "/dataset/{run-id}/{output-name}"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class DataOfRun:
    """All data that a run names, each name once."""

    references: dict[str, DataReferenceConfiguration] = field(default_factory=dict)
    inputs: dict[str, DatasetConsumptionConfig] = field(default_factory=dict)
    outputs: dict[str, OutputFileDatasetConfig] = field(default_factory=dict)

    def word(self, argument: object) -> str:
        """Return `argument` as the script's command line has it, and note the data that it stands for.

        Raises:
            UserErrorException: it cannot be an argument, or its name stands for other data already.
        """
        match argument:
            case DataReference():
                self.refer(argument.data_reference_name, argument.to_config())
                return str(argument)
            case AbstractAzureStorageDatastore():
                return self.word(argument.as_mount())
            case DatasetConsumptionConfig():
                self.consume(argument)
                return f"${argument.name}"
            case OutputFileDatasetConfig():
                self.produce(argument)
                return f"${argument.name}"
            case AbstractDataset():
                raise UserErrorException(
                    "A dataset as an argument needs a way to get at it: .as_mount(), .as_download() or "
                    ".as_named_input('name')."
                )
            case None:
                raise UserErrorException("An argument of the script is None.")
        return str(argument)

    def refer(self, name: str, config: DataReferenceConfiguration) -> None:
        """Note a data reference.

        Raises:
            UserErrorException: another one has this name, and would replace it.
        """
        known = self.references.setdefault(name, config)
        if known != config:
            raise UserErrorException(
                f"Two different data references have the name {name} ({known.mode} and {config.mode} of "
                f"{config.datastore_name}); give one a name: datastore.path(…, data_reference_name='other')."
            )

    def consume(self, config: DatasetConsumptionConfig) -> None:
        """Note a dataset.

        Raises:
            UserErrorException: another one has this name.
        """
        known = self.inputs.setdefault(config.name, config)
        if known != config:
            raise UserErrorException(f"Two different datasets have the input name {config.name}; give each its own.")

    def produce(self, config: OutputFileDatasetConfig) -> None:
        """Note an output.

        Raises:
            UserErrorException: another one has this name, or it cannot be done.
        """
        config.check()
        if self.outputs.setdefault(config.name, config) is not config:
            raise UserErrorException(f"Two outputs have the name {config.name}; give each its own.")


def job_of(
    config: RunConfiguration,
    *,
    source_directory: str | None,
    experiment: str,
    workspace: Workspace,
    tags: dict[str, str] | None,
) -> JobSpec:
    """Return the job for `config`.

    Raises:
        UserErrorException: the configuration contradicts itself, or names data that is not there.
    """
    data = DataOfRun()
    for name, config_in_data in config.data.items():
        data.inputs[name] = _renamed(name, config_in_data)
    words = tuple(data.word(argument) for argument in _won_by_data(config.arguments, dict(data.inputs)))
    for name, reference in config.data_references.items():
        data.refer(name, reference.to_config() if isinstance(reference, DataReference) else reference)
    for output in config.output_data.values():
        data.produce(output)
    command: ScriptCommand | ProgramCommand | ShellCommand
    if config.script is not None:
        command = ScriptCommand(script=config.script, arguments=words)
    elif isinstance(config.command, str):
        command = ShellCommand(line=config.command)
    else:
        command = ProgramCommand(words=tuple(data.word(word) for word in config.command or ()) + words)
    target = getattr(config.target, "name", config.target)
    variables = {**config.environment.environment_variables, **config.environment_variables}
    return JobSpec(
        experiment=experiment,
        command=command,
        base=str(current_directory()),
        code=None if source_directory is None else os.path.abspath(source_directory),
        code_datastore=config.source_directory_data_store,
        inputs=tuple(_inputs(data, workspace)),
        outputs=tuple(_outputs(data, workspace)),
        environment={name: str(value) for name, value in variables.items()},
        tags={name: str(value) for name, value in (tags or {}).items()},
        timeout_s=config.max_run_duration_seconds,
        remarks=() if target in {None, "local"} else (f"the compute target {target} is this node",),
    )


def _renamed(name: str, config: DatasetConsumptionConfig) -> DatasetConsumptionConfig:
    if not isinstance(config, DatasetConsumptionConfig):
        raise UserErrorException(f"data[{name!r}] is no dataset's input; write dataset.as_named_input({name!r}).")
    return DatasetConsumptionConfig(name, config.dataset, config.mode, config.path_on_compute)


def _won_by_data(arguments: Iterable[Any], inputs: dict[str, DatasetConsumptionConfig]) -> Iterable[Any]:
    """Yield `arguments`; where one has the name of an entry of `data`, that entry counts."""
    for argument in arguments:
        if isinstance(argument, DatasetConsumptionConfig) and argument.name in inputs:
            known = inputs[argument.name]
            if known != argument:
                _log.warning("The input %s of the arguments is replaced by the one in `data`.", argument.name)
            yield known
        else:
            yield argument


def _inputs(data: DataOfRun, workspace: Workspace) -> Iterable[JobInput]:
    for name, reference in data.references.items():
        if reference.mode != "upload":
            yield _reference_input(name, reference)
    for name, config in data.inputs.items():
        dataset = config.dataset.saved_in(workspace)
        if config.mode == "direct":
            yield JobInput(name=name, source=str(dataset.id), mode=Mode.DIRECT)
        else:
            yield JobInput(
                name=name,
                source=f"azureml:{dataset.name}:{dataset.version}" if dataset.name else f"azureml:{dataset.id}",
                mode=Mode.MOUNT if config.mode == "mount" else Mode.DOWNLOAD,
                path_on_compute=config.path_on_compute,
                announcement=f"Processing dataset {dataset}",
            )


def _outputs(data: DataOfRun, workspace: Workspace) -> Iterable[JobOutput]:
    for name, reference in data.references.items():
        if reference.mode == "upload":
            yield _reference_output(name, reference)
    for name, config in data.outputs.items():
        if config.destination is not None:
            datastore, path = config.destination[0].name, config.destination[1]
        else:
            known = workspace.catalog.names()
            datastore = DEFAULT_DATASTORE if DEFAULT_DATASTORE in known else workspace.catalog.default_name
            path = _DESTINATION
        yield JobOutput(
            name=name,
            target=f"azureml://datastores/{datastore}/paths/{quote(path.lstrip('/'), safe='/{}-')}",
            path_on_compute=config.source,
            overwrite=config.overwrite,
            globs=config.source_globs,
            register_as=config.registered_name,
            description=config.registered_description,
            tags={key: str(value) for key, value in config.registered_tags.items()},
        )


def _datastore_of(name: str, reference: DataReferenceConfiguration) -> str:
    if not reference.datastore_name:
        raise UserErrorException(f"DataReference {name} misses the datastore name")
    return reference.datastore_name


def _reference_input(name: str, reference: DataReferenceConfiguration) -> JobInput:
    return reference_input(
        name,
        datastore=_datastore_of(name, reference),
        path=reference.path_on_datastore,
        mode=Mode(reference.mode),
        path_on_compute=reference.path_on_compute,
    )


def _reference_output(name: str, reference: DataReferenceConfiguration) -> JobOutput:
    return reference_output(
        name,
        datastore=_datastore_of(name, reference),
        path=reference.path_on_datastore,
        path_on_compute=reference.path_on_compute,
    )
