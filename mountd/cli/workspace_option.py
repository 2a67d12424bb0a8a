"""The `--workspace` option that every command takes, and what it opens.

`mountd --workspace DIR command` and `mountd command --workspace DIR` mean the same; the one after the command wins.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mountd.errors import DeniedError, UsageError

if TYPE_CHECKING:
    from mountd.catalog.workspace import Workspace

_META_KEY = "mountd.workspace"


def _remember(context: typer.Context, value: Path | None) -> Path | None:
    # The parser shares `meta` between the contexts of a command and of the groups before it, and asks groups first.
    if value is None:
        return context.meta.get(_META_KEY)
    context.meta[_META_KEY] = value
    return value


def directory_named(text: str) -> Path:
    """Return `text` as a path; an empty one is a variable that is not set, more likely than the current directory."""
    if not text:
        raise UsageError("the directory of the workspace is empty; write . for the current one")
    return Path(text)  # unlooked at: the parser would refuse a closed one, which can be used unlisted


WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        metavar="DIR",
        help="The directory that holds `.azureml/`; found from here upwards if left out.",
        show_default=False,
        parser=directory_named,
        callback=_remember,
    ),
]


def accept_before_commands(group: typer.Typer) -> None:
    """Let `group` take `--workspace` in front of its commands too."""

    @group.callback()
    def remember(workspace: WorkspaceOption = None) -> None:
        """Leave the work to `_remember`: the option's own callback."""


def open_workspace(explicit: Path | None, sources: Iterable[str] | None = None) -> "Workspace | None":
    """Return the workspace to work with, or None if there is none.

    Args:
        explicit: the value of the command's `WorkspaceOption`.
        sources: all that it is for, if that is to look up SOURCEs. Some do without: then one that nobody named, and
            that this user may not read, is as good as none.

    Raises:
        NotFoundError: the user named a directory that holds no workspace.
        DeniedError: this user may not read it.
    """
    from mountd.catalog.source import LocalPath, WebUrl, parse_source  # noqa: PLC0415 - keeps `mountd --help` quick
    from mountd.catalog.workspace import Workspace  # noqa: PLC0415 - keeps `mountd --help` quick

    try:
        return Workspace.discover(explicit, os.environ, Path.cwd())
    except DeniedError:
        # Somebody's private workspace above a shared directory, or root's in /etc, must not keep all others from URLs.
        if sources is None or explicit is not None or os.environ.get("MOUNTD_WORKSPACE"):
            raise
        if not all(isinstance(parse_source(source, os.environ), LocalPath | WebUrl) for source in sources):
            raise
        return None
