"""What a run is going to do, worked out before it does anything.

Looks at the workspace's files and the local file system, never at storage. A plan that exists has every SOURCE and
TARGET resolved, every path absolute and every name unique.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mountd.catalog.model import Location, local_directories
from mountd.catalog.resolve import resolve
from mountd.catalog.workspace import Workspace
from mountd.errors import UsageError
from mountd.run.environment import Mode, Presented
from mountd.run.failures import preparing
from mountd.run.kind import DataKind
from mountd.run.specs import DownloadInput, MountInput, UploadOutput, check_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Data that is there before the command starts."""

    name: str
    mode: Mode
    location: Location
    path: Path | None
    """Where it goes, absolute; None: the run's own directory."""
    evaluate: bool = False
    """Whether it is an MLTable whose files are meant."""
    announcement: str | None = None
    """What the log says of it before that."""
    includes_name: bool = False
    """Whether `path` ends in the source's own name: a single file is downloaded to it, not below it."""
    kind: DataKind | None = None
    """What the source must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Data that is sent off after the command."""

    name: str
    path: Path
    """What the command writes; absolute."""
    location: Location
    otherwise: Path | None = None
    """Where else it may be, if it is not at `path`."""
    is_directory: bool = False
    """Whether to make a directory for the command at `path`; else only its parent."""
    overwrite: bool = True
    globs: tuple[str, ...] = ()
    """Which files below `path` are sent; all if empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """One run."""

    identifier: str
    """Unique on this node, sorts by time."""
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    command: tuple[str, ...]
    """The program and its arguments, before expansion."""
    cwd: Path
    """Where the command runs."""
    runs_directory: Path | None
    """The workspace's, for the run's own directory; None: the temp dir."""
    passed_on: tuple[Presented, ...] = ()
    """Inputs of mode `direct`."""
    literals: Mapping[str, str] = field(default_factory=dict)
    """Inputs that are plain values."""
    shown_from: int = 0
    """The first word of the command that its log shows: a script stands behind its interpreter."""
    is_shell_line: bool = False
    """Whether the last word of the command is read by a shell, which expands variables itself."""
    timeout_s: float | None = None
    """After which the command is asked to end."""
    grace_s: float | None = None
    """How long the command may take to end once it was asked to; None: for as long as it likes."""
    has_job_log: bool = False
    """Whether the log has every line of an Azure ML job's log, not only those that say something here."""

    @property
    def own_directory(self) -> Path | None:
        """Where in the workspace the run's own directory is, or is going to be."""
        return None if self.runs_directory is None else self.runs_directory / self.identifier


def make_plan(
    *,
    mounts: Sequence[MountInput],
    downloads: Sequence[DownloadInput],
    uploads: Sequence[UploadOutput],
    command: Sequence[str],
    workspace: Workspace | None,
    environ: Mapping[str, str],
    cwd: Path,
) -> RunPlan:
    """Return the plan of a run.

    Raises:
        UsageError: a name is used twice, or two downloads have places of which one lies in the other.
        PreparationError: an input or output cannot be resolved.
    """
    named: list[MountInput | DownloadInput | UploadOutput] = [*mounts, *downloads, *uploads]
    check_names(item.name for item in named)

    def place(name: str, kind: str, text: str, *, must_exist: bool = True) -> Location:
        with preparing(kind, name):
            return resolve(text, workspace=workspace, environ=environ, cwd=cwd, must_exist=must_exist)

    inputs = [
        Input(name=item.name, mode=Mode.MOUNT, location=place(item.name, "input", item.source), path=None)
        for item in mounts
    ]
    inputs += [
        Input(
            name=item.name,
            mode=Mode.DOWNLOAD,
            location=place(item.name, "input", item.source),
            path=None if item.path is None else _absolute(cwd, item.path),
        )
        for item in downloads
    ]
    check_apart(inputs)
    outputs = [
        Output(
            name=item.name,
            path=_absolute(cwd, item.path),
            location=place(item.name, "output", item.target, must_exist=False),
        )
        for item in uploads
    ]
    return RunPlan(
        identifier=f"run-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        command=tuple(command),
        cwd=cwd,
        runs_directory=None if workspace is None else _outside(workspace.directory / "runs", inputs),
    )


def check_apart(inputs: Sequence[Input]) -> None:
    """See that no input is given a place on, in or above another's: the files of both would be one's and the other's.

    Raises:
        UsageError: two are in each other's way.
    """
    for index, item in enumerate(inputs):
        for rival in inputs[:index]:
            if meet(rival, item):
                raise in_the_way(rival, item)


def meet(one: Input, other: Input) -> bool:
    """Whether one's place is on, in or above the other's, links resolved."""
    if one.path is None or other.path is None:
        return False
    first, second = (Path(os.path.realpath(path)) for path in (one.path, other.path))
    return first.is_relative_to(second) or second.is_relative_to(first)


def in_the_way(one: Input, other: Input) -> UsageError:
    """Return what to say of two inputs that `meet`."""
    return UsageError(
        f"inputs {one.name!r} and {other.name!r}: {one.path} and {other.path} are in each other's way; "
        "choose other paths"
    )


def _outside(runs: Path, inputs: Sequence[Input]) -> Path | None:
    """Return `runs` unless it lies inside an input: a mount must not show itself, nor a download copy itself."""
    real = Path(os.path.realpath(runs))
    shown = [directory for item in inputs for directory in local_directories(item.location)]
    return None if any(real.is_relative_to(os.path.realpath(directory)) for directory in shown) else runs


def _absolute(cwd: Path, path: str) -> Path:
    return Path(os.path.normpath(cwd / path))
