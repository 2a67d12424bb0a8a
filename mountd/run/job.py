"""What a run of its own directory is to do, as a value: written by job files and by the Python API alike.

Plain values that travel to the run's process as JSON through a pipe, since a SOURCE may carry a shared access signature
and a variable a password: nothing here is ever written to disk as it is. Imports neither trio nor storage.
"""

import os
import re
import sys
from collections import Counter
from pathlib import Path

import msgspec

from mountd.catalog.dataset_registry import check_name
from mountd.errors import UsageError
from mountd.run.environment import Mode
from mountd.run.kind import DataKind

NAME_RULE = "letters, digits, '_' and '-', not beginning with '-'"
RUN_NAME_RULE = "letters, digits, '_', '-' and '.', at most 200, beginning with a letter or digit"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_EXPERIMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")

DEFAULT_EXPERIMENT = "Default"
"""Azure ML's name for runs that name no experiment and have no directory to be named after."""


class JobInput(msgspec.Struct, frozen=True, kw_only=True):
    """Data that the command finds at a path, or is told the name of."""

    name: str
    source: str
    """Any SOURCE; a relative path starts at `JobSpec.base`. In mode `direct` the very text that the command sees."""
    mode: Mode = Mode.MOUNT
    """Any but `upload`."""
    path_on_compute: str | None = None
    """Relative: below the working directory; None: in the run's own directory."""
    gives_way: bool = False
    """Whether `path_on_compute` may be ignored where another input needs that place."""
    includes_name: bool = False
    """Whether `path_on_compute` ends in the source's own name: a single file is downloaded to it, not below it."""
    kind: DataKind | None = None
    """What the source must be; None: it is what is found there."""
    as_id: bool = False
    """In mode `direct`, whether `source` names a dataset and the command sees its id."""
    evaluate: bool = False
    """Whether the source is an MLTable and the command is to find the files that it names."""
    announcement: str | None = None
    """What the run's log says of it before it is mounted or downloaded."""

    def __repr__(self) -> str:
        return f"JobInput({self.name}, {self.mode})"  # the source may hold a signature


class JobOutput(msgspec.Struct, frozen=True, kw_only=True):
    """Data that the command leaves at a path and that is uploaded afterwards."""

    name: str
    target: str | None = None
    """Any TARGET, in which `{run-id}` and `{output-name}` are replaced; None: `azureml/<run>/<name>` in the default
    datastore."""
    path_on_compute: str | None = None
    """Relative: below the working directory; None: in the run's own directory."""
    otherwise: str | None = None
    """Where the command may have left it instead; looked at if nothing is at `path_on_compute`."""
    is_file: bool = False
    """Whether the path is to be a file's; without `path_on_compute` a directory is made for what is none."""
    overwrite: bool = True
    globs: tuple[str, ...] = ()
    """Which files below the path are uploaded; all if empty."""
    register_as: str | None = None
    """The dataset that the uploaded data becomes a version of, if the run succeeds."""
    description: str | None = None
    """Of that dataset."""
    tags: dict[str, str] = {}
    """Of that dataset."""

    def __repr__(self) -> str:
        return f"JobOutput({self.name})"


class ScriptCommand(msgspec.Struct, frozen=True, kw_only=True, tag="script"):
    """A Python script of the code."""

    script: str
    arguments: tuple[str, ...] = ()
    interpreter: str = sys.executable


class ProgramCommand(msgspec.Struct, frozen=True, kw_only=True, tag="program"):
    """A program and its arguments."""

    words: tuple[str, ...]


class ShellCommand(msgspec.Struct, frozen=True, kw_only=True, tag="shell"):
    """A line for bash, or for sh where there is no bash."""

    line: str


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    experiment: str
    command: ScriptCommand | ProgramCommand | ShellCommand
    base: str
    """Where relative paths in sources, targets and `code` start; absolute."""
    code: str | None = None
    """A directory or file of this node, or a place in a datastore; copied to be the working directory, which is empty
    without it."""
    code_datastore: str | None = None
    """The datastore by way of which the code reaches the run."""
    inputs: tuple[JobInput, ...] = ()
    outputs: tuple[JobOutput, ...] = ()
    literals: dict[str, str] = {}
    """Inputs that are plain values: what `${{inputs.x}}` stands for."""
    environment: dict[str, str] = {}
    """Added to the environment of whoever starts the run."""
    name: str | None = None
    """The run's identifier; None: made up from the experiment, the time and a random part."""
    display_name: str | None = None
    description: str | None = None
    tags: dict[str, str] = {}
    timeout_s: float | None = None
    """After which the command is ended."""
    remarks: tuple[str, ...] = ()
    """What the run's log says first: what of a job file means nothing on one node."""

    def __repr__(self) -> str:
        return f"JobSpec({self.experiment})"


def experiment_for(directory: Path) -> str:
    """Return the experiment of a job that names none: its directory's name, as far as it can be one."""
    name = "".join(character if character.isalnum() else "_" for character in directory.name)
    return name[:100] if name.isascii() and name.strip("_") else DEFAULT_EXPERIMENT


def leaves_run(path: str) -> bool:
    """Tell whether `path`, relative to the working directory, leads out of the run's own directory, one above it.

    An absolute path is somebody's decision, and does not.
    """
    return os.path.normpath(path).split("/")[:2] == ["..", ".."]


def check_job(job: JobSpec) -> None:
    """See that the names in `job` can be used, that none is used twice, and that its command can be started.

    What would only be noticed after the command is refused here: a name that its output cannot be registered under.

    Raises:
        UsageError: one cannot.
    """
    if not _EXPERIMENT.fullmatch(job.experiment):
        raise UsageError(
            f"the experiment's name {job.experiment!r} cannot be used; write letters, digits, '_', '-' and '.', at "
            "most 100"
        )
    if job.name is not None and not _RUN_NAME.fullmatch(job.name):
        raise UsageError(f"the run's name {job.name!r} cannot be used; write {RUN_NAME_RULE}")
    if not Path(job.base).is_absolute():
        raise UsageError(f"the base {job.base!r} of a job's relative paths is not absolute")
    for side, names in (
        ("input", [*(item.name for item in job.inputs), *job.literals]),
        ("output", [item.name for item in job.outputs]),
    ):
        for name in names:
            if not _NAME.fullmatch(name):
                raise UsageError(f"{side} {name!r}: the name cannot be used; write {NAME_RULE}")
    _check_paths(job)
    _check_registrations(job)
    _check_command(job)
    counts = Counter(item.name for item in job.inputs)
    counts.update(item.name for item in job.outputs)
    counts.update(job.literals.keys())
    for name, count in counts.items():
        if count > 1:
            raise UsageError(f"the name {name!r} is used for more than one input or output; give each its own name")


def _check_paths(job: JobSpec) -> None:
    data: tuple[JobInput | JobOutput, ...] = (*job.inputs, *job.outputs)
    for item in data:
        if item.path_on_compute is not None and leaves_run(item.path_on_compute):
            side = "input" if isinstance(item, JobInput) else "output"
            raise UsageError(
                f"{side} {item.name!r}: the path on the compute {item.path_on_compute!r} leads out of the run's "
                "directory; leave '..' out, or write an absolute path"
            )


def _check_registrations(job: JobSpec) -> None:
    for output in job.outputs:
        if output.register_as is not None:
            try:
                check_name(output.register_as)
            except UsageError as error:
                raise UsageError(f"output {output.name!r}: cannot be registered: {error}") from None


def _check_command(job: JobSpec) -> None:
    if isinstance(job.command, ShellCommand) and not job.command.line.strip():
        raise UsageError("the command is empty")
    if isinstance(job.command, ShellCommand) and "\0" in job.command.line:
        raise UsageError("the command holds a zero byte, which no program can be given")
    for name, value in job.environment.items():
        if not name or "=" in name or "\0" in name:
            raise UsageError(f"the environment variable {name!r} cannot be set; write a name without '='")
        if "\0" in value:
            raise UsageError(f"the environment variable {name!r} holds a zero byte, which no program can be given")
