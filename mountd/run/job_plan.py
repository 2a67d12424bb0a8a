"""From a job, as it was written, to the plan of a run in a directory of its own.

Looks at the workspace's files and the local file system, never at storage.
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.model import Location
from mountd.catalog.resolve import resolve
from mountd.catalog.source import DatasetReference, parse_source
from mountd.catalog.workspace import Workspace
from mountd.errors import UsageError
from mountd.observe.redaction import redact
from mountd.run.environment import Mode, Presented
from mountd.run.failures import preparing
from mountd.run.job import JobInput, JobOutput, JobSpec, ProgramCommand, ScriptCommand, ShellCommand
from mountd.run.plan import Input, Output, RunPlan, in_the_way, meet
from mountd.run.record import DataRecord

CODE = "code"
"""The name of the working directory in the run's own directory."""

GRACE_S = 30.0
"""How long a job's command may take to end once it was asked to."""

_PLACEHOLDER = re.compile(r"Dataset(?:Consumption|Output)Config:([A-Za-z0-9_][A-Za-z0-9_-]*)")


def plan_job(job: JobSpec, directory: Path, *, workspace: Workspace, environ: Mapping[str, str]) -> RunPlan:
    """Return the plan of `job`.

    Args:
        job: what to do; checked by `check_job`.
        directory: the run's own; absolute and real.
        workspace: where datastores and datasets are looked up.
        environ: holds the storage variables of the Azure command line.

    Raises:
        PreparationError: an input or output cannot be resolved.
        UsageError: two of them want the same place.
    """
    cwd = directory / CODE

    def place(kind: str, name: str, source: str) -> Location:
        with preparing(kind, name):
            return resolve(source, workspace=workspace, environ=environ, cwd=Path(job.base), must_exist=kind == "input")

    inputs = [
        Input(
            name=item.name,
            mode=Mode.MOUNT if item.mode is Mode.MOUNT else Mode.DOWNLOAD,
            location=place("input", item.name, item.source),
            path=None if item.path_on_compute is None else _below(cwd, item.path_on_compute),
            evaluate=item.evaluate,
            announcement=item.announcement,
            includes_name=item.includes_name,
            kind=item.kind,
        )
        for item in job.inputs
        if item.mode is not Mode.DIRECT
    ]
    words, shown_from = _command(job)
    return RunPlan(
        identifier=directory.name,
        inputs=tuple(_apart(inputs, {item.name for item in job.inputs if item.gives_way}, cwd)),
        outputs=tuple(
            _output(
                item,
                cwd=cwd,
                own=directory / "outputs" / item.name,
                location=place("output", item.name, target_of(item, directory.name, workspace)),
            )
            for item in job.outputs
        ),
        command=words,
        cwd=cwd,
        runs_directory=directory.parent,
        passed_on=tuple(
            Presented(name=item.name, mode=Mode.DIRECT, path=_passed_on(item, workspace))
            for item in job.inputs
            if item.mode is Mode.DIRECT
        ),
        literals=job.literals,
        shown_from=shown_from,
        is_shell_line=isinstance(job.command, ShellCommand),
        timeout_s=job.timeout_s,
        grace_s=GRACE_S,
        has_job_log=True,
    )


def _passed_on(item: JobInput, workspace: Workspace) -> str:
    """Return what the command sees of an input in mode `direct`."""
    if not item.as_id:
        return item.source
    with preparing("input", item.name):
        dataset = parse_source(item.source, {})
        assert isinstance(dataset, DatasetReference), "only datasets have an id"
        return DatasetRegistry(workspace).find(dataset.name, dataset.version).id


def target_of(output: JobOutput, run: str, workspace: Workspace) -> str:
    """Return where `output` of the run `run` is uploaded to."""
    if output.target is None:
        return f"azureml://datastores/{workspace.default_name}/paths/azureml/{run}/{output.name}/"
    return output.target.replace("{run-id}", run).replace("{output-name}", output.name)


def input_records(job: JobSpec) -> tuple[DataRecord, ...]:
    """Return the inputs of `job` as its record shows them."""
    data = [DataRecord(name=item.name, mode=item.mode, place=redact(item.source)) for item in job.inputs]
    data += [DataRecord(name=name, mode="value", place=redact(value)) for name, value in job.literals.items()]
    return tuple(data)


def output_records(job: JobSpec, run: str, workspace: Workspace) -> tuple[DataRecord, ...]:
    """Return the outputs of the run `run` of `job` as its record shows them."""
    return tuple(
        DataRecord(name=item.name, mode="upload", place=redact(target_of(item, run, workspace))) for item in job.outputs
    )


def command_text(job: JobSpec) -> str:
    """Return the command of `job` for people, without secrets."""
    match job.command:
        case ScriptCommand():
            return redact(" ".join(["python", job.command.script, *job.command.arguments]))
        case ProgramCommand():
            return redact(" ".join(job.command.words))
        case ShellCommand():
            return redact(job.command.line.strip())


def _command(job: JobSpec) -> tuple[tuple[str, ...], int]:
    """Return the words of the command, and the first one to show."""
    names = {item.name for item in job.inputs} | {item.name for item in job.outputs}

    def known(word: str) -> str:
        match = _PLACEHOLDER.fullmatch(word)
        return f"${match[1]}" if match is not None and match[1] in names else word

    match job.command:
        case ScriptCommand():
            command = job.command
            return (command.interpreter, command.script, *map(known, command.arguments)), 1
        case ProgramCommand():
            return tuple(map(known, job.command.words)), 0
        case ShellCommand():
            return (shutil.which("bash") or "/bin/sh", "-c", job.command.line), 0


def _output(item: JobOutput, *, cwd: Path, own: Path, location: Location) -> Output:
    path = own if item.path_on_compute is None else _below(cwd, item.path_on_compute)
    if item.path_on_compute is None and item.is_file:
        # The object is named by the target; a file of that name is sent as that object.
        path = own / (location.path.rpartition("/")[2] or item.name)
    return Output(
        name=item.name,
        path=path,
        location=location,
        otherwise=None if item.otherwise is None else _below(cwd, item.otherwise),
        is_directory=not item.is_file and item.path_on_compute is None,
        overwrite=item.overwrite,
        globs=item.globs,
    )


def _apart(inputs: Sequence[Input], giving_way: set[str], cwd: Path) -> list[Input]:
    """Return `inputs` with no path on, in or above another's or the working directory's.

    Raises:
        UsageError: one that does not give way is.
    """
    settled: list[Input] = []
    for item in sorted(inputs, key=lambda item: item.name in giving_way):
        rivals = [other for other in settled if meet(item, other)]
        blocked = item.path is not None and cwd.is_relative_to(item.path)
        if not rivals and not blocked:
            settled.append(item)
        elif item.name in giving_way:
            settled.append(replace(item, path=None))
        elif blocked:
            raise UsageError(f"input {item.name!r}: {item.path} is where the command runs; choose another path")
        else:
            raise in_the_way(rivals[0], item)
    order = [item.name for item in inputs]
    return sorted(settled, key=lambda item: order.index(item.name))


def _below(cwd: Path, path: str) -> Path:
    return Path(os.path.normpath(cwd / path))
