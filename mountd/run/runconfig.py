"""Run configurations of Azure ML's first Python SDK: `.azureml/<name>.runconfig`, YAML in camel case.

What one node cannot honour is accepted and said in the run's log where it asks for something; unknown fields are errors
that name file and field. The code is the project: the directory that holds `.azureml`.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from mountd.config.strict_yaml import convert, load_yaml, read_text
from mountd.errors import UsageError
from mountd.run.environment import Mode
from mountd.run.job import JobInput, JobOutput, JobSpec, ScriptCommand, ShellCommand, check_job, experiment_for
from mountd.run.references import reference_input, reference_output

CONFIG_DIRECTORIES = {".azureml", "aml_config"}
"""Where a project keeps its run configurations."""

_DEFAULT_TARGET = "dataset/{run-id}/{output-name}"
"""Where Azure ML keeps an output that names no place, in the default datastore."""


class _Camel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    pass


class _Reference(_Camel, frozen=True, kw_only=True):
    data_store_name: str
    path_on_data_store: str | None = None
    mode: str = "mount"
    overwrite: bool | None = False
    path_on_compute: str | None = None


class _Dataset(_Camel, frozen=True, kw_only=True):
    id: str | None = None
    name: str | None = None
    version: str | int | None = None


class _DataPath(_Camel, frozen=True, kw_only=True):
    datastore_name: str
    relative_path: str | None = None


class _Uri(_Camel, frozen=True, kw_only=True):
    path: str
    is_file: bool | None = False


class _Location(_Camel, frozen=True, kw_only=True):
    dataset: _Dataset | None = None
    data_path: _DataPath | None = None
    uri: _Uri | None = None


class _Data(_Camel, frozen=True, kw_only=True):
    data_location: _Location
    create_output_directories: bool | None = False
    mechanism: str = "direct"
    environment_variable_name: str | None = None
    path_on_compute: str | None = None
    overwrite: bool | None = False
    options: Any = None


class _Globs(_Camel, frozen=True, kw_only=True):
    patterns: list[str] | None = None


class _UploadOptions(_Camel, frozen=True, kw_only=True):
    overwrite: bool | None = True
    source_globs: _Globs | None = None


class _RegistrationOptions(_Camel, frozen=True, kw_only=True):
    name: str | None = None
    description: str | None = None
    tags: Any = None
    properties: Any = None
    dataset_registration_options: Any = None


class _OutputOptions(_Camel, frozen=True, kw_only=True):
    path_on_compute: str | None = None
    registration_options: _RegistrationOptions | None = None
    upload_options: _UploadOptions | None = None
    mount_options: Any = None


class _OutputData(_Camel, frozen=True, kw_only=True):
    output_location: _Location | None = None
    mechanism: str = "mount"
    additional_options: _OutputOptions | None = None


class _RunConfig(_Camel, frozen=True, kw_only=True):
    script: str | None = None
    arguments: list[str | int | float] | None = None
    command: str | list[str] | None = None
    target: str | None = None
    node_count: int | None = 1
    max_run_duration_seconds: float | None = None
    environment: Any = None
    environment_variables: dict[str, str | int | float | bool | None] | None = None
    data_references: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    output_data: dict[str, Any] | None = None
    source_directory_data_store: str | None = None
    # How a cluster is to carry the run out: nothing on one node.
    amlcompute: Any = None
    application_endpoints: Any = None
    auto_cluster_compute_specification: Any = None
    batchai: Any = None
    communicator: Any = None
    container_instance: Any = None
    credential_passthrough: Any = None
    datacaches: Any = None
    docker: Any = None
    framework: Literal["Python", "PyTorch", "TensorFlow", "PySpark", "Cntk", "ParallelTask"] | None = None
    hdi: Any = None
    history: Any = None
    kubernetescompute: Any = None
    mpi: Any = None
    paralleltask: Any = None
    priority: Any = None
    pytorch: Any = None
    services: Any = None
    spark: Any = None
    tensorflow: Any = None


def read_runconfig(path: Path) -> JobSpec:
    """Return the job in the run configuration `path`.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is malformed, or asks for what this version does not do; names file and field.
    """
    origin = str(path)
    config = convert(load_yaml(read_text(path), origin), _RunConfig, origin)
    directory = Path(os.path.abspath(path)).parent
    project = directory.parent if directory.name in CONFIG_DIRECTORIES else directory
    job = _Reader(origin, config, project).job()
    try:
        check_job(job)
    except UsageError as error:
        raise UsageError(f"{origin}: {error}") from None
    return job


class _Reader:
    def __init__(self, origin: str, config: _RunConfig, project: Path) -> None:
        self._origin = origin
        self._config = config
        self._project = project
        self._variables: dict[str, str] = {}
        """Names of inputs by the names under which arguments know them, where these differ."""

    def job(self) -> JobSpec:
        """Return the whole job."""
        config = self._config
        inputs = [*self._references(), *self._data()]
        outputs = [*self._uploads(), *self._output_data()]
        return JobSpec(
            experiment=experiment_for(self._project),
            command=self._command(),
            base=str(self._project),
            code=str(self._project),
            code_datastore=config.source_directory_data_store or None,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            environment=self._environment(),
            timeout_s=config.max_run_duration_seconds or None,
            remarks=tuple(self._remarks()),
        )

    def _command(self) -> ScriptCommand | ShellCommand:
        config = self._config
        if config.command:
            line = config.command if isinstance(config.command, str) else " ".join(config.command)
            return ShellCommand(line=line)
        if not config.script:
            raise self._refused("script", "is missing, and so is command")
        prefix = "DatasetConsumptionConfig:"
        arguments = [str(word) for word in config.arguments or ()]
        return ScriptCommand(
            script=config.script,
            arguments=tuple(
                prefix + self._variables.get(word.removeprefix(prefix), word.removeprefix(prefix))
                if word.startswith(prefix)
                else word
                for word in arguments
            ),
            interpreter=self._interpreter(),
        )

    def _interpreter(self) -> str:
        """Return the Python of the environment if it is managed by the user, else the first on the PATH."""
        python = self._section(self._config.environment, "python")
        chosen = python.get("interpreterPath")
        if python.get("userManagedDependencies") and isinstance(chosen, str) and chosen not in {"", "python"}:
            return chosen
        return shutil.which("python") or shutil.which("python3") or sys.executable

    def _environment(self) -> dict[str, str]:
        given = self._section(self._config.environment, "environmentVariables")
        variables = {name: value for name, value in given.items() if name != "EXAMPLE_ENV_VAR"}  # the SDK's own filler
        variables.update(self._config.environment_variables or {})
        return {str(name): "" if value is None else str(value) for name, value in variables.items()}

    def _references(self) -> Iterator[JobInput]:
        for name, item in self._all_references():
            mode = self._mode(f"dataReferences.{name}.mode", item.mode)
            if mode is not Mode.UPLOAD:
                yield reference_input(
                    name,
                    datastore=item.data_store_name,
                    path=item.path_on_data_store,
                    mode=mode,
                    path_on_compute=item.path_on_compute,
                )

    def _uploads(self) -> Iterator[JobOutput]:
        for name, item in self._all_references():
            if self._mode(f"dataReferences.{name}.mode", item.mode) is Mode.UPLOAD:
                yield reference_output(
                    name,
                    datastore=item.data_store_name,
                    path=item.path_on_data_store,
                    path_on_compute=item.path_on_compute,
                    overwrite=bool(item.overwrite),
                )

    def _all_references(self) -> Iterator[tuple[str, _Reference]]:
        for name, value in (self._config.data_references or {}).items():
            yield name, convert(value, _Reference, f"{self._origin}: dataReferences.{name}")

    def _data(self) -> Iterator[JobInput]:
        for key, value in (self._config.data or {}).items():
            where = f"data.{key}"
            item = convert(value, _Data, f"{self._origin}: {where}")
            name = item.environment_variable_name or key
            self._variables[key] = name
            mode = self._mode(f"{where}.mechanism", item.mechanism)
            if mode is Mode.UPLOAD:
                raise self._refused(f"{where}.mechanism", "an input is not uploaded; write mount, download or direct")
            yield JobInput(
                name=name,
                source=self._source(f"{where}.dataLocation", item.data_location),
                mode=mode,
                path_on_compute=item.path_on_compute or None,
                as_id=mode is Mode.DIRECT and item.data_location.dataset is not None,
            )

    def _output_data(self) -> Iterator[JobOutput]:
        for name, value in (self._config.output_data or {}).items():
            where = f"outputData.{name}"
            item = convert(value, _OutputData, f"{self._origin}: {where}")
            if item.mechanism.lower() != "upload":
                raise self._refused(
                    f"{where}.mechanism",
                    "writable mounts are not in this version; use upload: it is sent after the command",
                )
            options = item.additional_options or _OutputOptions()
            upload = options.upload_options or _UploadOptions()
            globs = upload.source_globs or _Globs()
            registration = options.registration_options or _RegistrationOptions()
            location = item.output_location or _Location()
            place = location.data_path
            target = None if place is None else _uri(place.datastore_name, place.relative_path or _DEFAULT_TARGET)
            yield JobOutput(
                name=name,
                target=f"{target}/" if target is not None else None,
                path_on_compute=options.path_on_compute or None,
                overwrite=upload.overwrite is not False,
                globs=tuple(globs.patterns or ()),
                register_as=registration.name or None,
                description=registration.description,
                tags=_tags(registration.tags),
            )

    def _source(self, where: str, location: _Location) -> str:
        if location.dataset is not None:
            dataset = location.dataset
            version = "" if dataset.version in {None, "", "latest"} else f":{dataset.version}"
            if dataset.name:
                return f"azureml:{dataset.name}{version}"
            if dataset.id:
                return f"azureml:{dataset.id}"
        if location.data_path is not None:
            return _uri(location.data_path.datastore_name, location.data_path.relative_path or "")
        if location.uri is not None:
            return location.uri.path
        raise self._refused(where, "names no data: one of dataset, dataPath and uri is needed")

    def _mode(self, where: str, text: str) -> Mode:
        try:
            return Mode(text.lower())
        except ValueError:
            raise self._refused(where, f"Invalid mode {text}. Only mount, download, upload are supported") from None

    def _remarks(self) -> Iterator[str]:
        config = self._config
        if config.target not in {None, "", "local"}:
            yield f"target: has no meaning here; {config.target!r} is not asked, the run is on this node"
        if (config.node_count or 1) > 1:
            yield f"nodeCount: has no meaning here; one process runs on this node, not {config.node_count}"
        if config.framework not in {None, "Python"}:
            yield f"framework: has no meaning here; {config.framework} is what this node has of it"
        docker = self._section(config.environment, "docker")
        if docker.get("enabled") or (isinstance(config.docker, dict) and config.docker.get("useDocker")):
            yield "docker: has no meaning here; the run is in the environment of this node"

    def _section(self, parent: object, name: str) -> dict[str, Any]:
        found = parent.get(name) if isinstance(parent, dict) else None
        return found if isinstance(found, dict) else {}

    def _refused(self, field: str, why: str) -> UsageError:
        return UsageError(f"{self._origin}: {field}: {why}")


def _tags(given: object) -> dict[str, str]:
    return {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}


def _uri(datastore: str, path: str) -> str:
    return f"azureml://datastores/{datastore}/paths/{quote(path.strip('/'), safe='/{}')}"
