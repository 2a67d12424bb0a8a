"""`mountd run` from the words of its command line to its exit status."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import trio

from mountd.catalog.workspace import Workspace
from mountd.errors import DeniedError, MountdError, ReadOnlyError
from mountd.observe.redaction import redact
from mountd.run.failures import PreparationError
from mountd.run.guard import RunGuard
from mountd.run.journal import Journal
from mountd.run.node_operations import NodeOperations
from mountd.run.plan import RunPlan, make_plan
from mountd.run.record import RUN_DIRECTORY_VARIABLE, RUN_ID_VARIABLE, DataRecord, RunRecord
from mountd.run.recording import Recording
from mountd.run.session import Outcome, run_session
from mountd.run.specs import parse_download, parse_mount, parse_upload

EXPERIMENT = "run"
"""The experiment of runs that name none."""


def launch(
    *,
    mounts: Sequence[str],
    downloads: Sequence[str],
    uploads: Sequence[str],
    command: Sequence[str],
    workspace: Callable[[Sequence[str]], Workspace | None],
    environ: Mapping[str, str],
    cwd: Path,
    say: Callable[[str], None],
) -> int:
    """Run `command` with its data around it and return the exit status.

    Args:
        mounts: values of `--mount`.
        downloads: values of `--download`.
        uploads: values of `--upload`.
        command: the program and its arguments.
        workspace: finds the workspace for these SOURCEs and TARGETs.
        environ: what the command would see without mountd.
        cwd: the working directory of this process and of the command.
        say: takes each line of the run's own log.

    Raises:
        UsageError: an option is malformed.
        PreparationError: the data cannot be made ready.
    """
    parsed_mounts = [parse_mount(text) for text in mounts]
    parsed_downloads = [parse_download(text) for text in downloads]
    parsed_uploads = [parse_upload(text) for text in uploads]
    try:
        sources = [*(item.source for item in parsed_mounts), *(item.source for item in parsed_downloads)]
        found = workspace([*sources, *(item.target for item in parsed_uploads)])
    except MountdError as error:
        raise PreparationError(error.message) from error
    plan = make_plan(
        mounts=parsed_mounts,
        downloads=parsed_downloads,
        uploads=parsed_uploads,
        command=command,
        workspace=found,
        environ=environ,
        cwd=cwd,
    )
    journal = _keep_record(plan, found, say)
    if journal is None:
        with RunGuard() as guard:
            return trio.run(_session(plan, environ, say, guard)).exit_status
    recording = Recording(journal)
    outcome = Outcome(MountdError.exit_code, "an internal error")
    variables = {RUN_ID_VARIABLE: journal.record.id, RUN_DIRECTORY_VARIABLE: str(journal.directory)}
    try:
        with RunGuard() as guard:
            outcome = trio.run(_session(plan, {**environ, **variables}, journal.also(say), guard, recording))
    finally:
        recording.ended(outcome)
    return outcome.exit_status


def _session(
    plan: RunPlan,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    guard: RunGuard,
    recording: Recording | None = None,
) -> Callable[[], Awaitable[Outcome]]:
    return partial(
        run_session,
        plan,
        operations=NodeOperations(environ, say, owner_pid=guard.pid),
        environment=environ,
        say=say,
        watcher=recording,
        prepare=None if recording is None else recording.preparing,
        guard=guard,
    )


def _keep_record(plan: RunPlan, workspace: Workspace | None, say: Callable[[str], None]) -> Journal | None:
    """Return the journal of a new run, None where there is no place for one: the run matters more than its record.

    It is said unless the workspace is simply not this user's to write to.
    """
    if workspace is None or plan.runs_directory is None:
        return None
    record = RunRecord(
        id=plan.identifier,
        experiment=EXPERIMENT,
        status="NotStarted",
        created=time.time(),
        command=redact(" ".join(plan.command)),
        inputs=tuple(DataRecord(name=item.name, mode=item.mode, place=item.location.source) for item in plan.inputs),
        outputs=tuple(DataRecord(name=item.name, mode="upload", place=item.location.source) for item in plan.outputs),
    )
    try:
        return Journal.create(workspace, record)
    except (DeniedError, ReadOnlyError):  # a workspace of the node's administrator, for one
        return None
    except MountdError as error:
        say(f"mountd: warning: the run will not be in `mountd runs list`: {error.message}")
        return None
