"""`mountd run` and `mountd runs`."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mountd.cli.workspace_option import WorkspaceOption, accept_before_commands, open_workspace
from mountd.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from mountd.catalog.workspace import Workspace

# Heavy modules are imported where they are needed: `mountd --help` stays quick.
# ruff: noqa: PLC0415


runs_app = typer.Typer(name="runs", help="Look at the runs of a workspace.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    # What follows the first word that is no option belongs to the command, options of the command included.
    app.command("run", context_settings={"allow_interspersed_args": False})(run)
    accept_before_commands(runs_app)
    app.add_typer(runs_app)


def run(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="CMD", help="The command and its arguments; put `--` before it.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="JOB",
            help="Run the job of an Azure ML CLI v2 job YAML, or of a `.runconfig` file, and nothing else.",
            show_default=False,
        ),
    ] = None,
    mount: Annotated[
        list[str] | None,
        typer.Option("--mount", metavar="NAME=SOURCE", help="Mount SOURCE while CMD runs.", show_default=False),
    ] = None,
    download: Annotated[
        list[str] | None,
        typer.Option(
            "--download",
            metavar="NAME=SOURCE[=PATH]",
            help="Download SOURCE before CMD runs; to stay at PATH if that is given (it starts with / or ./), where it "
            "replaces files of the same name.",
            show_default=False,
        ),
    ] = None,
    upload: Annotated[
        list[str] | None,
        typer.Option(
            "--upload",
            metavar="NAME=PATH=TARGET",
            help="Upload what CMD leaves at PATH, replacing files of the same name; also when CMD fails.",
            show_default=False,
        ),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Run CMD with data mounted, downloaded and uploaded around it.

    CMD finds each path in $AZUREML_DATAREFERENCE_<NAME> and other variables; in its arguments the same, $NAME,
    ${{inputs.NAME}} and ${{outputs.NAME}} are replaced by the path (quote them, or your shell will). The exit status
    is CMD's own, 128 + n if signal n ended it, 125 if its data could not be made ready, 126 or 127 if CMD cannot be
    started, and 7 if CMD succeeded but an upload failed.

    With -f the job's file says everything. Such a run has a directory of its own in the workspace, with a copy of its
    code, its outputs and its log, which is printed as it grows.
    """
    if file is not None:
        if command or mount or download or upload:
            raise UsageError("--file: the job's file says everything; leave CMD, --mount, --download and --upload out")
        raise typer.Exit(_run_file(file, workspace))
    if not command:
        raise UsageError("the command is missing: write `mountd run [OPTIONS] -- CMD ARG…`, or -f JOB")
    from mountd.run.launch import launch

    status = launch(
        mounts=mount or [],
        downloads=download or [],
        uploads=upload or [],
        command=command,
        workspace=lambda sources: open_workspace(workspace, sources),
        environ=os.environ,
        cwd=Path.cwd(),
        say=_say,
    )
    raise typer.Exit(status)


def _say(line: str) -> None:
    with suppress(OSError):  # whoever looked is gone: no reason to stop, least of all to leave something mounted
        typer.echo(line, err=True)


def _run_file(file: Path, explicit: Path | None) -> int:
    from mountd.run.job_file import read_job_file
    from mountd.run.run_job import run_job
    from mountd.run.submit import begin

    job = read_job_file(file)
    workspace = _opened(explicit)
    journal = begin(job, workspace)
    status = run_job(job, journal, workspace=workspace, environ=os.environ, show=_show)
    if not _both_outputs_are_one():
        for line in journal.errors:
            _say(line)
    if journal.trouble is not None:
        _say(f"mountd: warning: the record and the log of run {journal.record.id} are not whole: {journal.trouble}")
    return status


def _both_outputs_are_one() -> bool:
    """Tell whether who reads standard error has read the run's log on standard output: a terminal, or `2>&1`."""
    try:
        return os.path.samestat(os.fstat(1), os.fstat(2))
    except OSError:
        return False  # one of them is closed


@runs_app.command("list")
def runs_list(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the runs of the workspace, the newest first."""
    from mountd.cli import run_render
    from mountd.run.record import list_records

    found = _opened(workspace)
    records = list_records(found)
    if as_json:
        typer.echo(json.dumps([run_render.as_plain(found, record) for record in records], indent=2))
    else:
        typer.echo(run_render.run_table(records, time.time()))


@runs_app.command("show")
def runs_show(
    identifier: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The newest one if left out.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run: how it went, its data, its metrics and where its log is."""
    from mountd.cli import run_render
    from mountd.run.record import list_records, read_record, run_directory

    found = _opened(workspace)
    if identifier is None:
        records = list_records(found)
        if not records:
            raise NotFoundError(f"no runs in {found.root}")
        record = records[0]
    else:
        record = read_record(run_directory(found, identifier))
    if as_json:
        typer.echo(json.dumps(run_render.as_plain(found, record), indent=2))
    else:
        typer.echo(run_render.run_block(found, record, time.time()))


@runs_app.command("cancel")
def runs_cancel(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The run.", show_default=False)],
    workspace: WorkspaceOption = None,
) -> None:
    """Ask a run to end; its command gets 30 s for that, and its outputs are still uploaded."""
    from mountd.run.record import run_directory
    from mountd.run.submit import cancel

    cancel(run_directory(_opened(workspace), identifier))


def _opened(explicit: Path | None) -> "Workspace":
    found = open_workspace(explicit)
    if found is None:
        raise NotFoundError("no workspace here or above; make one with `mountd workspace init` or give --workspace")
    return found


def _show(text: str) -> None:
    with suppress(OSError):  # as above: whoever looked is gone
        typer.echo(text, nl=False)
