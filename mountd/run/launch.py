"""`mountd run` from the words of its command line to its exit status."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import trio

from mountd.catalog.workspace import Workspace
from mountd.errors import MountdError
from mountd.run.failures import PreparationError
from mountd.run.node_operations import NodeOperations
from mountd.run.plan import make_plan
from mountd.run.session import run_session
from mountd.run.specs import parse_download, parse_mount, parse_upload


def launch(
    *,
    mounts: Sequence[str],
    downloads: Sequence[str],
    uploads: Sequence[str],
    command: Sequence[str],
    workspace: Callable[[], Workspace | None],
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
        workspace: finds the workspace.
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
        found = workspace()
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
    return trio.run(
        partial(run_session, plan, operations=NodeOperations(environ, say), environment=environ, say=say),
        strict_exception_groups=True,
    )
