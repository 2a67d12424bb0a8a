"""Carries a job out in this process: its code, its session, its record and its log, to the exit status.

Everything said and everything the command writes goes to one log file. Whoever wants to see it live follows the file:
a terminal that stands still must not hold up training.
"""

import os
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import trio

from mountd.aio.threads import Lane
from mountd.catalog.resolve import resolve
from mountd.catalog.workspace import Workspace
from mountd.errors import MountdError, UnsafeError
from mountd.run.failures import ERROR_MARK, PreparationError
from mountd.run.guard import RunGuard
from mountd.run.job import JobSpec
from mountd.run.job_plan import plan_job
from mountd.run.journal import Journal
from mountd.run.log_tail import LogTail
from mountd.run.node_operations import NodeOperations
from mountd.run.operations import DataOperations
from mountd.run.plan import RunPlan
from mountd.run.record import RUN_DIRECTORY_VARIABLE, RUN_ID_VARIABLE, log_path
from mountd.run.recording import Recording
from mountd.run.registration import register_outputs
from mountd.run.session import Outcome, run_session
from mountd.run.snapshot import SNAPSHOT, is_remote_code

_FOLLOW_EVERY_S = 0.05


def run_job(
    job: JobSpec,
    journal: Journal,
    *,
    workspace: Workspace,
    environ: Mapping[str, str],
    show: Callable[[str], None] | None = None,
) -> int:
    """Carry out `job` and return the exit status of `mountd run`.

    Args:
        job: what to do, with its code copied by `submit.begin`.
        journal: of the run; is ended.
        workspace: where datastores are looked up.
        environ: what the command would see without mountd.
        show: takes the text of the log as it grows.
    """
    recording = Recording(journal)
    outcome = Outcome(1, "an internal error; the log says more")
    try:
        with RunGuard() as guard:
            outcome = trio.run(
                partial(_carry_out, job, journal, recording, workspace, environ, show, guard),
                strict_exception_groups=True,
            )
    except BaseException:
        journal.say(traceback.format_exc())
        raise
    finally:
        recording.ended(outcome)
    return outcome.exit_status


async def _carry_out(
    job: JobSpec,
    journal: Journal,
    recording: Recording,
    workspace: Workspace,
    environ: Mapping[str, str],
    show: Callable[[str], None] | None,
    guard: RunGuard,
) -> Outcome:
    over = trio.Event()
    outcome = Outcome(MountdError.exit_code)
    async with trio.open_nursery() as nursery:
        if show is not None:
            nursery.start_soon(_follow, LogTail(log_path(journal.directory)), show, over)
        try:
            outcome = await _work(job, journal, recording, workspace, environ, guard)
        except MountdError as error:  # through the nursery it would come out as a group
            journal.say(f"{ERROR_MARK}{error.message}")
            outcome = Outcome(error.exit_code, error.message)
        finally:
            over.set()
        # The run is over, whether or not anybody reads the rest of its log.
        await Lane("record", 1).run(recording.ended, outcome)
    return outcome


async def _work(
    job: JobSpec,
    journal: Journal,
    recording: Recording,
    workspace: Workspace,
    environ: Mapping[str, str],
    guard: RunGuard,
) -> Outcome:
    """Do all of the run but its record's end.

    Raises:
        MountdError: the job cannot be planned.
    """
    disk = Lane("job", 2)
    for remark in job.remarks:
        journal.say(f"mountd: {remark}")
    plan = await disk.run(partial(plan_job, job, journal.directory, workspace=workspace, environ=environ))
    operations = NodeOperations(environ, journal.say, workspace, owner_pid=guard.pid)

    async def prepare() -> None:
        await recording.preparing()
        await _bring_code(job, plan, operations, journal, workspace, environ)

    try:
        output = await disk.run(journal.open_log)
    except OSError as error:
        raise PreparationError(f"{log_path(journal.directory)}: cannot be written: {error.strerror}") from error
    try:
        outcome = await run_session(
            plan,
            operations=operations,
            environment=_environment(job, journal, environ),
            say=journal.say,
            watcher=recording,
            output=output,
            prepare=prepare,
            guard=guard,
        )
    finally:
        os.close(output)
    return await _register(outcome, job, journal, workspace, environ)


async def _register(
    outcome: Outcome, job: JobSpec, journal: Journal, workspace: Workspace, environ: Mapping[str, str]
) -> Outcome:
    """Register the outputs of a run that succeeded."""
    if outcome.exit_status != 0 or outcome.canceled:
        return outcome
    failure = await register_outputs(job, journal.record.id, workspace=workspace, environ=environ, say=journal.say)
    return outcome if failure is None else Outcome(UnsafeError.exit_code, failure)


async def _follow(tail: LogTail, show: Callable[[str], None], over: trio.Event) -> None:
    """Show the log as it grows, and its rest once the run is `over`; a terminal may take as long as it likes."""
    lane = Lane("log", 1)
    try:
        while not over.is_set():
            if text := await lane.run(tail.read_new):
                await lane.run(show, text)
            else:
                with trio.move_on_after(_FOLLOW_EVERY_S):
                    await over.wait()
        await lane.run(show, await lane.run(tail.read_rest))
    finally:
        tail.close()


async def _bring_code(
    job: JobSpec,
    plan: RunPlan,
    operations: DataOperations,
    journal: Journal,
    workspace: Workspace,
    environ: Mapping[str, str],
) -> None:
    """Put the code in the working directory, by way of a datastore if the job wants that.

    Raises:
        PreparationError: it could not be brought.
    """
    disk = Lane("code", 1)
    snapshot = journal.directory / SNAPSHOT
    try:
        if job.code_datastore is not None:
            source = f"azureml://datastores/{job.code_datastore}/paths/azureml/{journal.record.id}/"
            place = resolve(source, workspace=workspace, environ=environ, cwd=Path(job.base), must_exist=False)
            journal.say(f"Uploading the code to {place.source}.")
            await operations.upload(snapshot, place)
            await operations.download(place, plan.cwd)
            await disk.run(shutil.rmtree, snapshot)
        elif job.code is not None and is_remote_code(job.code):
            place = resolve(job.code, workspace=workspace, environ=environ, cwd=Path(job.base))
            journal.say(f"Downloading the code from {place.source}.")
            await operations.download(place, plan.cwd)
        for name in ("outputs", "logs"):  # Azure ML makes these, and scripts rely on it
            await disk.run(partial((plan.cwd / name).mkdir, parents=True, exist_ok=True))
    except MountdError as error:
        raise PreparationError(f"the code: {error.message}") from error
    except OSError as error:
        raise PreparationError(f"the code: {error.filename or plan.cwd}: {error.strerror}") from error


def _environment(job: JobSpec, journal: Journal, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the command would see without its data."""
    return {
        "PYTHONUNBUFFERED": "1",  # the log is followed, and a pipe or file would hold a script's lines back
        **environ,
        **job.environment,
        RUN_ID_VARIABLE: journal.record.id,
        RUN_DIRECTORY_VARIABLE: str(journal.directory),
        "AZUREML_RUN_ID": journal.record.id,
        "AZUREML_EXPERIMENT_NAME": journal.record.experiment,
        "PATH": _path(environ, job.environment),
    }


def _path(environ: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Return the PATH of the command: the interpreter of mountd is found last, so that `python` is always something."""
    path = own.get("PATH", environ.get("PATH", os.defpath))
    return f"{path}:{os.path.dirname(sys.executable)}"
