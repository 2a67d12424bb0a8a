"""`mountd workspace` and `mountd datastore`."""

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mountd.cli.workspace_option import WorkspaceOption, accept_before_commands, directory_named, open_workspace
from mountd.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from mountd.catalog.datastore_input import Secret
    from mountd.catalog.workspace import Workspace

# Heavy modules are imported where they are needed: `mountd --help` stays quick.
# ruff: noqa: PLC0415

workspace_app = typer.Typer(name="workspace", help="Make or show a workspace.", no_args_is_help=True)
datastore_app = typer.Typer(name="datastore", help="Name places in storage.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The datastore.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add both command groups to `app`, and `--workspace` in front of every command."""
    accept_before_commands(app)
    for group in workspace_app, datastore_app:
        accept_before_commands(group)
        app.add_typer(group)


@workspace_app.command("init")
def workspace_init(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="The current directory if left out.", show_default=False, parser=directory_named
        ),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Make DIR a workspace with two datastores on this node; does nothing if it is one."""
    from mountd.catalog.workspace import Workspace

    if directory is not None and workspace is not None and directory.absolute() != workspace.absolute():
        raise UsageError("--workspace and DIR: name different directories; give one")
    made = Workspace.init(directory or workspace or Path.cwd())
    typer.echo(f"Workspace {made.root} with the datastores {', '.join(made.names()) or 'none'}")


@workspace_app.command("show")
def workspace_show(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show which workspace is found from here, and what is in it."""
    found = _opened(workspace)
    shown = found.describe()
    if as_json:
        _print_json(shown)
        return
    default = shown["default_datastore"]
    if default not in shown["datastores"]:
        default += ", which does not exist; `mountd datastore set-default NAME` chooses another"
    _print_fields({**shown, "default_datastore": default, "datastores": ", ".join(shown["datastores"])})


@datastore_app.command("add")
def datastore_add(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="F.yml", help="Azure ML CLI v2 YAML.", show_default=False)
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="azure_blob or local; others by --file.", show_default=False)
    ] = None,
    account_name: Annotated[str | None, typer.Option("--account-name", show_default=False)] = None,
    container_name: Annotated[str | None, typer.Option("--container-name", show_default=False)] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="core.windows.net if left out.", show_default=False)
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="https if left out, or http.", show_default=False)
    ] = None,
    path: Annotated[
        str | None, typer.Option("--path", metavar="D", help="The directory of a local one.", show_default=False)
    ] = None,
    credential_env: Annotated[
        str | None,
        typer.Option(
            "--credential-env", metavar="VAR", help="Take key, SAS or connection string from $VAR.", show_default=False
        ),
    ] = None,
    credential_stdin: Annotated[
        bool, typer.Option("--credential-stdin", help="Take key, SAS or connection string from standard input.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace one of the same name.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Add a datastore from a YAML file, or from these options."""
    from mountd.catalog.datastore_input import DatastoreWords, datastore_from_file, datastore_from_words

    found = _opened(workspace)
    secret = _secret(credential_env, from_stdin=credential_stdin)
    words = DatastoreWords(
        name=name,
        type=kind,
        account_name=account_name,
        container_name=container_name,
        endpoint=endpoint,
        protocol=protocol,
        path=path,
    )
    if file is None:
        datastore = datastore_from_words(words, secret=secret, environ=os.environ, cwd=Path.cwd())
    elif words == DatastoreWords(name=name):
        datastore = datastore_from_file(file, name=name, secret=secret)
    else:
        raise UsageError("--file: the file says everything; leave --type and the others out")
    stored = found.add(datastore, overwrite=overwrite)
    if name is not None and name != stored.name:
        typer.echo(f"Datastore name {name} contains capital letters. They are stored in lower case.", err=True)
    typer.echo(f"Added datastore {stored.name} to {found.root}")


@datastore_app.command("list")
def datastore_list(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the datastores; the default one is marked."""
    found = _opened(workspace)
    rows = [found.describe_datastore(name) for name in found.names()]
    if as_json:
        _print_json(rows)
        return
    lines = [("NAME", "TYPE", "WHERE")]
    lines += [(f"{row['name']}{' (default)' if row['default'] else ''}", row["type"], row["place"]) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    for line in lines:
        typer.echo(f"{line[0]:<{widths[0]}}  {line[1]:<{widths[1]}}  {line[2]}")


@datastore_app.command("show")
def datastore_show(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The default one if left out.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one datastore, without its secrets."""
    found = _opened(workspace)
    shown = found.describe_datastore(name or found.default_name)
    if as_json:
        _print_json(shown)
    else:
        _print_fields(shown)


@datastore_app.command("set-default")
def datastore_set_default(name: NameArgument, workspace: WorkspaceOption = None) -> None:
    """Make NAME the default datastore."""
    found = _opened(workspace)
    found.set_default(name)
    typer.echo(f"The default datastore is {found.default_name}")


@datastore_app.command("remove")
def datastore_remove(name: NameArgument, workspace: WorkspaceOption = None) -> None:
    """Forget NAME; what is stored there stays."""
    found = _opened(workspace)
    found.remove(name)
    typer.echo(f"Removed datastore {name.lower()}; its data is untouched")


def _opened(explicit: Path | None) -> "Workspace":
    found = open_workspace(explicit)
    if found is None:
        raise NotFoundError("no workspace here or above; make one with `mountd workspace init` or give --workspace")
    return found


def _secret(variable: str | None, *, from_stdin: bool) -> "Secret | None":
    from mountd.catalog.datastore_input import Secret

    if variable is not None and from_stdin:
        raise UsageError("--credential-env and --credential-stdin: give one")
    if variable is not None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            # not repeated: it may be the secret itself, given by mistake
            raise UsageError("--credential-env: takes the name of an environment variable, not a value")
        text = os.environ.get(variable, "")
        if not text.strip():
            raise UsageError(f"--credential-env: ${variable} is not set")
        return Secret(text=text.strip(), origin=f"${variable}")
    if not from_stdin:
        return None
    if sys.stdin.isatty():
        import getpass

        text = getpass.getpass("Key, SAS or connection string: ")
    else:
        text = sys.stdin.read(1 << 16)
    if not text.strip():
        raise UsageError("--credential-stdin: standard input is empty")
    return Secret(text=text.strip(), origin="standard input")


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_fields(fields: dict[str, Any]) -> None:
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value
        typer.echo(f"{name + ':':<{width + 1}} {text}")
