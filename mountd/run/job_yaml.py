"""Command jobs of Azure ML's CLI v2: a YAML file that says what to run on which data.

What one node cannot honour is accepted and said in the run's log; what is unknown is an error that names file and
field. Relative paths start at the file's directory.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from mountd.config.strict_yaml import convert, load_yaml, read_text
from mountd.errors import UsageError
from mountd.run.environment import Mode
from mountd.run.job import JobInput, JobOutput, JobSpec, ShellCommand, check_job, experiment_for
from mountd.run.kind import DataKind
from mountd.run.shell_line import slots_of

_Literal = str | int | float | bool
_Text = str | int | float | bool | None

_IGNORED = {
    "compute": "runs on this node",
    "environment": "runs in the environment of this node",
    "resources": "takes what this node has",
    "distribution": "runs one process on this node",
    "identity": "uses the credentials of the datastores",
    "queue_settings": "starts at once",
    "services": "starts no services",
    "parent_job_name": "has no parent",
}
"""Fields that mean nothing on one node, and what holds instead."""

_OF_COMPONENT = ("command", "code", "display_name", "description", "tags", "environment_variables")
"""What a job that azure-ai-ml's `command()` or `load_job()` made has in its component."""

_KINDS: dict[str, DataKind] = {"uri_file": "uri_file", "uri_folder": "uri_folder"}
"""Types that say what the data must be, where the job says them."""

_FOLDER_TYPES = ("uri_folder", "mltable", "custom_model", "mlflow_model", "triton_model")


class _DataInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: str | None = None
    path: str | None = None
    mode: str | None = None
    path_on_compute: str | None = None
    datastore: str | None = None
    optional: bool = False
    description: str | None = None
    default: _Literal | None = None
    value: _Literal | None = None
    min: int | float | None = None
    max: int | float | None = None
    enum: list[_Literal] | None = None


class _DataOutput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Literal["uri_file", "uri_folder", "mltable", "custom_model", "mlflow_model", "triton_model"] = "uri_folder"
    path: str | None = None
    mode: Literal["upload", "rw_mount", "mount", "direct"] | None = None
    name: str | None = None
    version: str | int | None = None
    description: str | None = None


class _Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    timeout: int | float | None = None


class _JobYaml(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"schema": "$schema"}):
    schema: str | None = None
    type: str = "command"
    name: str | None = None
    display_name: str | None = None
    experiment_name: str | None = None
    description: str | None = None
    tags: dict[str, _Text] = {}
    properties: dict[str, _Text] = {}
    command: str
    code: str | None = None
    environment_variables: dict[str, _Text] = {}
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    limits: _Limits | None = None
    environment: Any = None
    compute: Any = None
    resources: Any = None
    distribution: Any = None
    identity: Any = None
    queue_settings: Any = None
    services: Any = None
    parent_job_name: Any = None
    # What the service writes into a job that it shows, and what `az ml job show` prints.
    id: Any = None
    status: Any = None
    creation_context: Any = None
    log_files: Any = None
    parameters: Any = None


def read_job(path: Path) -> JobSpec:
    """Return the job in the YAML file `path`.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is malformed, or asks for what this version does not do; names file and field.
    """
    origin = str(path)
    value = load_yaml(read_text(path), origin)
    if not isinstance(value, dict):
        raise UsageError(f"{origin}: must hold the fields of a job")
    kind = value.get("type", "command")
    if kind != "command":
        raise UsageError(f"{origin}: type: {kind!r} jobs are not in this version; write a command job for each step")
    if "component" in value:
        value = _without_component(origin, value)
    if "command" not in value:
        raise UsageError(f"{origin}: command: is missing")
    job = _Reader(origin, convert(value, _JobYaml, origin), Path(os.path.abspath(path)).parent).job()
    try:
        check_job(job)
    except UsageError as error:
        raise UsageError(f"{origin}: {error}") from None
    return job


def _without_component(origin: str, value: dict[str, Any]) -> dict[str, Any]:
    """Return a job as files have it from one as azure-ai-ml dumps it: with its command in an inline component."""
    component = value["component"]
    if not isinstance(component, dict):
        raise UsageError(f"{origin}: component: registered components are not in this version; write their command:")
    job = {name: component[name] for name in _OF_COMPONENT if name in component} | value
    for side in ("inputs", "outputs"):  # what has no place or value of its own stands in the component alone
        declared, given = component.get(side) or {}, value.get(side) or {}
        if isinstance(declared, dict) and isinstance(given, dict):
            job[side] = declared | given
    del job["component"]
    return job


class _Reader:
    def __init__(self, origin: str, yaml: _JobYaml, directory: Path) -> None:
        self._origin = origin
        self._yaml = yaml
        self._directory = directory
        self._remarks: list[str] = []

    def job(self) -> JobSpec:
        """Return the whole job."""
        yaml = self._yaml
        inputs, literals = self._inputs()
        outputs = tuple(self._outputs())
        self._check_references({item.name for item in inputs} | literals.keys())
        self._remarks += [
            f"{field}: has no meaning here; the job {instead}"
            for field, instead in _IGNORED.items()
            if getattr(yaml, field) is not None
        ]
        timeout_s = None if yaml.limits is None else yaml.limits.timeout
        if timeout_s is not None and not timeout_s > 0:  # neither is what is no number
            raise self._refused("limits.timeout", "must be more than 0 seconds")
        return JobSpec(
            experiment=yaml.experiment_name or experiment_for(self._directory),
            command=ShellCommand(line=yaml.command.strip()),
            base=str(self._directory),
            code=self._code(),
            inputs=tuple(inputs),
            outputs=outputs,
            literals=literals,
            environment={name: _text(value) for name, value in yaml.environment_variables.items()},
            name=yaml.name,
            display_name=yaml.display_name,
            description=yaml.description,
            tags={name: _text(value) for name, value in yaml.tags.items()},
            timeout_s=timeout_s,
            remarks=tuple(self._remarks),
        )

    def _code(self) -> str | None:
        code = self._yaml.code
        if code is None:
            return None
        code = _as_path(code)
        if code.startswith("git+") or code.endswith(".git"):
            raise self._refused("code", "repositories are not cloned in this version; give a directory")
        if code.startswith("azureml:") and not code.startswith("azureml://datastores/"):
            raise self._refused("code", "registered code is not in this version; give a directory")
        return code

    def _inputs(self) -> tuple[list[JobInput], dict[str, str]]:
        """Return inputs that are data, and those that are plain values."""
        data: list[JobInput] = []
        literals: dict[str, str] = {}
        for name, value in self._yaml.inputs.items():
            where = f"inputs.{name}"
            if value is None:
                continue  # an optional input that was not given
            if isinstance(value, str) and value.startswith("{'type': '"):
                raise self._refused(where, "is data that azure-ai-ml wrote as text; write its type:, path: and mode:")
            if isinstance(value, _Literal):
                literals[name] = _text(value)
                continue
            item = convert(value, _DataInput, f"{self._origin}: {where}")
            if item.path is not None:
                data.append(self._data_input(where, name, item))
            elif item.value is not None or item.default is not None:
                literals[name] = _text(item.default if item.value is None else item.value)
            elif not item.optional:
                raise self._refused(f"{where}.path", "is missing")
        return data, literals

    def _data_input(self, where: str, name: str, item: _DataInput) -> JobInput:
        type_ = item.type or "uri_folder"
        if type_ not in {"uri_file", *_FOLDER_TYPES}:
            raise self._refused(f"{where}.type", f"{type_!r} is not a type of data; write uri_file or uri_folder")
        mode = item.mode or "ro_mount"
        match mode:
            case "ro_mount" | "mount":
                kind: Mode = Mode.MOUNT
            case "download":
                kind = Mode.DOWNLOAD
            case "direct":
                kind = Mode.DIRECT
            case "rw_mount":
                raise self._refused(
                    f"{where}.mode", "writable mounts are not in this version; use ro_mount here and an output to write"
                )
            case "eval_mount" if type_ == "mltable":
                kind = Mode.MOUNT
            case "eval_download" if type_ == "mltable":
                kind = Mode.DOWNLOAD
            case _:
                raise self._refused(
                    f"{where}.mode", f"{mode!r} is not a mode of {type_}; write ro_mount, download or direct"
                )
        path_on_compute = item.path_on_compute
        return JobInput(
            name=name,
            source=self._source(item.path or "", kind),
            mode=kind,
            path_on_compute=None if path_on_compute is None else path_on_compute.removeprefix("file://"),
            evaluate=mode.startswith("eval_"),
            kind=_KINDS.get(item.type or ""),
        )

    def _source(self, path: str, mode: Mode) -> str:
        """Return the SOURCE that `path` is; in mode `direct` as the command is to see it."""
        path = _as_path(path)
        if mode is Mode.DIRECT and ":" not in path:
            return os.path.normpath(self._directory / path)
        return path

    def _outputs(self) -> Iterator[JobOutput]:
        for name, value in self._yaml.outputs.items():
            where = f"outputs.{name}"
            item = _DataOutput() if value is None else convert(value, _DataOutput, f"{self._origin}: {where}")
            if item.mode in {"rw_mount", "mount"}:
                raise self._refused(
                    f"{where}.mode", "writable mounts are not in this version; use upload: it is sent after the command"
                )
            if item.mode == "direct":
                raise self._refused(f"{where}.mode", "direct outputs are not in this version; use upload")
            if item.mode is None:
                self._remarks.append(f"{where}: has no mode; it is uploaded after the command")
            if item.version is not None:
                self._remarks.append(f"{where}.version: has no meaning here; the dataset gets its next version")
            target = item.path
            if target is not None:
                for template, meant in _TARGET_TEMPLATES.items():
                    target = target.replace(template, meant)
                if "${{default_datastore}}" in target:
                    raise self._refused(f"{where}.path", "name the datastore instead of ${{default_datastore}}")
                if item.type != "uri_file" and not target.endswith("/"):
                    target += "/"
            yield JobOutput(
                name=name,
                target=target,
                is_file=item.type == "uri_file",
                register_as=item.name,
                description=item.description,
            )

    def _check_references(self, given: set[str]) -> None:
        needed = slots_of(self._yaml.command)
        known = {
            "inputs": given,
            "outputs": set(self._yaml.outputs),
        }
        for side, name in sorted(needed):
            if name not in known[side]:
                raise self._refused("command", f"names {side}.{name}, which the job does not have or was not given")

    def _refused(self, field: str, why: str) -> UsageError:
        return UsageError(f"{self._origin}: {field}: {why}")


def _as_path(text: str) -> str:
    """Return a path or URL without the `azureml:` that azure-ai-ml writes before it."""
    rest = text.removeprefix("azureml:")
    is_uri = "://" in rest and not rest.startswith("//")
    is_path = rest.startswith(("./", "../")) or (rest.startswith("/") and not rest.startswith("//"))
    return rest if is_uri or is_path else text


_TARGET_TEMPLATES = {"${{name}}": "{run-id}", "${{output_name}}": "{output-name}"}


def _text(value: _Text) -> str:
    """Return `value` as Azure ML writes it into a command or variable."""
    return "" if value is None else str(value)
