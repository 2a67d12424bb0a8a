"""`mountd prefetch`, and the wait of `mountd mount --mode download`."""

import sys
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from mountd.cli.workspace_option import WorkspaceOption
from mountd.errors import NotFoundError
from mountd.observe.terminals import redraws
from mountd.units import format_size

if TYPE_CHECKING:
    from mountd.observe.statistics import FillStatus

LINE_EVERY_S = 10.0
"""As of transfers: a line is for whoever comes back later and wonders whether it still moves."""

# Heavy modules are imported where they are needed: `mountd --help` stays quick.
# ruff: noqa: PLC0415


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("prefetch")(prefetch)


def prefetch(
    mountpoint: Annotated[str, typer.Argument(metavar="MOUNTPOINT", show_default=False)],
    patterns: Annotated[list[str] | None, typer.Argument(metavar="[PATTERN]…", show_default=False)] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it until `mountd cache clear`.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Bring files of a mount to disk and return when they are there; exit with 5 if they do not fit.

    PATTERN is a path below the mount point, or a shell pattern of one, in which * also matches a slash; without any,
    everything is brought. If no file matches, exit with 3. Interrupting the command does not stop the mount
    from bringing it.
    """
    from mountd.client import api

    del workspace  # every command takes it
    done = wait(mountpoint, api.prefetch(mountpoint, patterns or [], pin=pin))
    if patterns and not done.files_total and not done.note:  # the note says why nothing has to be brought
        named = ", ".join(patterns)
        raise NotFoundError(f"{mountpoint}: no file matches {named}; a PATTERN begins below the mount point")
    files = "1 file" if done.files_total == 1 else f"{done.files_total} files"
    typer.echo(done.note or f"{files}, {format_size(done.bytes_total)}, on disk")


def wait(mountpoint: str, ticket: str = "") -> "FillStatus":
    """Return when everything asked for is on disk; a terminal shows how far it is, anything else says it now and then.

    Args:
        mountpoint: of the mount.
        ticket: of what was asked for; without it the wait is for all that the mount shows.

    Raises:
        MountdError: it does not fit or could not be brought.
    """
    from mountd.client.filling import wait_filled

    terminal = redraws(sys.stderr)
    told_at = monotonic()

    def tell(so_far: "FillStatus") -> None:
        nonlocal told_at
        text = f"{so_far.state} {format_size(so_far.bytes)} of {format_size(so_far.bytes_total)}"
        text += f", {so_far.files} of {so_far.files_total} files"
        if terminal:
            share = so_far.bytes / so_far.bytes_total if so_far.bytes_total else 0.0
            typer.echo(f"\r\x1b[K[{'#' * int(24 * share):-<24}] {text}", err=True, nl=False)
        elif monotonic() - told_at >= LINE_EVERY_S:
            told_at = monotonic()
            typer.echo(f"mountd: {text}", err=True)

    try:
        return wait_filled(mountpoint, tell, ticket=ticket)
    finally:
        if terminal:
            typer.echo("\r\x1b[K", err=True, nl=False)
