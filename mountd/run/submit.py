"""Runs that go on in a process of their own, for programs that start them and may end before they do.

The process is told what to do through a pipe: a job may hold secrets. It holds the run's lock from the start, inherited
from the submitter. Blocking; imports neither trio nor storage, so that `import mountd.azureml` stays light.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from mountd.catalog.workspace import Workspace
from mountd.errors import DeadlineError, MountdError, NotFoundError, SetupError, UsageError
from mountd.run.job import JobSpec, ScriptCommand, check_job
from mountd.run.job_plan import CODE, command_text, input_records, output_records
from mountd.run.journal import Journal, make_identifier
from mountd.run.log_tail import LogTail
from mountd.run.record import CANCELED, LOCK, RunRecord, log_path, read_record
from mountd.run.snapshot import SNAPSHOT, copy_code, is_remote_code

_STARTED_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.1
_REGISTERED_WITHIN_S = 10.0
"""How long the process of a run may take until it can be asked to end."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the process of a run is told through its standard input."""

    job: JobSpec
    workspace: str


def begin(job: JobSpec, workspace: Workspace) -> Journal:
    """Make the directory of a new run, with its record and a copy of its code, and return its journal.

    Raises:
        UsageError: a name in `job` cannot be used, or the code cannot be read.
        ExistsError: there is a run of that name.
        NotFoundError: there is no such code, or the script is not in it, or no such datastore for it to go through.
        MountdError: the workspace cannot be written to.
    """
    check_job(job)
    _check_code_datastore(job, workspace)
    identifier = job.name or make_identifier(job.experiment)
    record = RunRecord(
        id=identifier,
        experiment=job.experiment,
        status="NotStarted",
        created=time.time(),
        command=command_text(job),
        display_name=job.display_name,
        description=job.description,
        tags=job.tags,
        code=job.code,
        inputs=input_records(job),
        outputs=output_records(job, identifier, workspace),
    )
    journal = Journal.create(workspace, record)
    try:
        target = journal.directory / (CODE if job.code_datastore is None else SNAPSHOT)
        if job.code is None or is_remote_code(job.code):
            target.mkdir(mode=0o700)
        else:
            code = Path(job.base) / job.code.removeprefix("file://")
            copy_code(code, target, leave_out=journal.directory.parent)
        _check_script(job, target)
    except BaseException:
        journal.close()
        shutil.rmtree(journal.directory, ignore_errors=True)  # no run: nothing of it is left
        raise
    return journal


def _check_code_datastore(job: JobSpec, workspace: Workspace) -> None:
    """See that there is a datastore, of a kind that can be opened, for the code to go through.

    Raises:
        NotFoundError: there is none.
        UsageError: it cannot be opened.
    """
    if job.code_datastore is None:
        return
    try:
        workspace.datastore(job.code_datastore).store(workspace.datastores_directory)
    except (NotFoundError, UsageError) as error:
        raise type(error)(f"source_directory_data_store: {error.message}") from None


def _check_script(job: JobSpec, copy: Path) -> None:
    """See that the script is in the `copy` of the code; where the code lies in storage, the run will.

    Raises:
        NotFoundError: it is not.
    """
    if not isinstance(job.command, ScriptCommand) or (job.code is not None and is_remote_code(job.code)):
        return
    script = job.command.script
    if (copy / script).is_file():
        return
    missing = f"{script} script path doesn't exist. "  # Azure ML's words
    if job.code is None:
        raise NotFoundError(f"{missing}The run has no source directory; name one, or write the whole path.")
    code = Path(job.base) / job.code.removeprefix("file://")
    if code.joinpath(script).is_file():
        raise NotFoundError(f"{missing}It is in the source directory {code}, whose ignore file leaves it out.")
    raise NotFoundError(f"{missing}The script should be inside the source directory {code}.")


def submit(job: JobSpec, workspace: Workspace, environ: Mapping[str, str] | None = None) -> Path:
    """Start `job` in a process of its own and return the directory of the run.

    Args:
        job: what to do.
        workspace: where datastores are looked up and the run is kept.
        environ: what the command would see without mountd; this process's own variables if left out.

    Raises:
        SetupError: the process could not be started.
        MountdError: as `begin` does.
    """
    journal = begin(job, workspace)
    try:
        _start(journal, Order(job=job, workspace=str(workspace.root)), os.environ if environ is None else environ)
    except BaseException as error:
        journal.update(status="Failed", error=str(error) or type(error).__name__, ended=time.time())
        raise
    finally:
        journal.close()  # the run's process has a descriptor of its own
    return journal.directory


def wait(directory: Path, *, on_log: Callable[[str], None] | None = None, timeout_s: float | None = None) -> RunRecord:
    """Return the record of the run in `directory` once it is over.

    Args:
        directory: the run's own.
        on_log: takes the text of the log, from its beginning, as it grows.
        timeout_s: how long to wait at most.

    Raises:
        DeadlineError: it goes on after `timeout_s` seconds.
        NotFoundError: there is no such run.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    tail = LogTail(log_path(directory))
    try:
        while True:
            record = read_record(directory)
            if on_log is not None and (text := tail.read_rest()):
                on_log(text)
            if record.is_over:
                return record
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineError(f"run {record.id}: goes on after {timeout_s:g} s; its status is {record.status}")
            _wait_for_process(record, _LOOK_EVERY_S)
    finally:
        tail.close()


def cancel(directory: Path) -> None:
    """Ask the run in `directory` to end: its command gets SIGTERM, and SIGKILL if it goes on for 30 s.

    Returns at once; a run that is over is left alone.

    Raises:
        MountdError: its process cannot be reached from here.
    """
    deadline = time.monotonic() + _REGISTERED_WITHIN_S
    while True:
        record = read_record(directory)
        if record.is_over:
            return
        if record.pid is not None:
            break
        if time.monotonic() >= deadline:
            raise DeadlineError(f"run {record.id}: its process does not start; look at {log_path(directory)}")
        _wait_for_process(record, _LOOK_EVERY_S)
    try:
        process = os.pidfd_open(record.pid)
        try:
            # From here on the number is this process's: it may be another's than the run's, of another node even.
            if not _holds_lock(record.pid, directory):
                raise ProcessLookupError
            # It says that the command is to be killed in the end: another SIGTERM leaves it all the time it takes.
            with contextlib.suppress(OSError):
                (directory / CANCELED).touch(mode=0o600)
            signal.pidfd_send_signal(process, signal.SIGTERM)
        finally:
            os.close(process)
    except OSError:
        if not read_record(directory).is_over:  # or it ended just now
            raise SetupError(
                f"run {record.id}: its process, {record.pid} on {record.host}, cannot be reached from here"
            ) from None


def _holds_lock(pid: int, directory: Path) -> bool:
    """Tell whether the process `pid` has the lock of the run in `directory` open."""
    lock = os.path.realpath(directory / LOCK)
    with os.scandir(f"/proc/{pid}/fd") as descriptors:
        return any(_target(entry.path) == lock for entry in descriptors)


def _target(link: str) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None  # closed in between


def _wait_for_process(record: RunRecord, timeout_s: float) -> None:
    """Return after `timeout_s` seconds, or earlier if the run's process ends."""
    process = -1
    poll = select.poll()
    if record.pid is not None:
        with contextlib.suppress(OSError):
            process = os.pidfd_open(record.pid)
            poll.register(process, select.POLLIN)
    try:
        poll.poll(timeout_s * 1000)
    finally:
        if process >= 0:
            os.close(process)


def _start(journal: Journal, order: Order, environ: Mapping[str, str]) -> None:
    """Start the process of the run; it is nobody's child and has no terminal.

    Raises:
        SetupError: it could not be started.
    """
    command = [sys.executable, "-P", "-m", "mountd.run", str(journal.directory), str(journal.lock)]
    try:
        log = journal.open_log()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=dict(environ),
                pass_fds=(journal.lock,),
            )
        finally:
            os.close(log)
        try:
            # It forks at once and this one ends; the order is read by the one that stays.
            process.communicate(msgspec.json.encode(order), timeout=_STARTED_WITHIN_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError(f"run {journal.record.id}: its process cannot be started: {error}") from None
    if process.returncode != 0:
        raise SetupError(
            f"run {journal.record.id}: its process ended with exit status {process.returncode} at its start; see "
            f"{log_path(journal.directory)}"
        )


def run_order(directory: Path, lock: int, order: bytes) -> int:
    """Carry out the run in `directory` in this process, which holds its lock; return the exit status."""
    from mountd.run.run_job import run_job  # noqa: PLC0415 - trio, in the run's own process only

    told = msgspec.json.decode(order, type=Order)
    journal = Journal.adopt(directory, lock)
    try:
        return run_job(told.job, journal, workspace=Workspace(Path(told.workspace)), environ=os.environ)
    except MountdError as error:
        return error.exit_code
