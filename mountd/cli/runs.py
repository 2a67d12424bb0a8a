"""`mountd run`."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from mountd.cli.workspace_option import WorkspaceOption, open_workspace

# Heavy modules are imported where they are needed: `mountd --help` stays quick.
# ruff: noqa: PLC0415


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    # What follows the first word that is no option belongs to the command, options of the command included.
    app.command("run", context_settings={"allow_interspersed_args": False})(run)


def run(
    command: Annotated[
        list[str],
        typer.Argument(metavar="CMD", help="The command and its arguments; put `--` before it.", show_default=False),
    ],
    mount: Annotated[
        list[str] | None,
        typer.Option("--mount", metavar="NAME=SOURCE", help="Mount SOURCE while CMD runs.", show_default=False),
    ] = None,
    download: Annotated[
        list[str] | None,
        typer.Option(
            "--download",
            metavar="NAME=SOURCE[=PATH]",
            help="Download SOURCE before CMD runs; to stay at PATH if that is given (it starts with / or ./).",
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
    """
    from mountd.run.launch import launch

    status = launch(
        mounts=mount or [],
        downloads=download or [],
        uploads=upload or [],
        command=command,
        workspace=lambda: open_workspace(workspace),
        environ=os.environ,
        cwd=Path.cwd(),
        say=_say,
    )
    raise typer.Exit(status)


def _say(line: str) -> None:
    with suppress(OSError):  # whoever looked is gone: no reason to stop, least of all to leave something mounted
        typer.echo(line, err=True)
