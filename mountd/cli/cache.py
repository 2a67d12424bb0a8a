"""`mountd cache show`, `clear` and `verify`: the node's disk cache, looked after by hand."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mountd.cli.workspace_option import WorkspaceOption
from mountd.errors import UnsafeError
from mountd.observe.terminals import redraws
from mountd.units import format_size

if TYPE_CHECKING:
    from mountd.config.mount_options import MountOptions
    from mountd.modes.cache import Verified

# Heavy modules are imported where they are needed: `mountd --help` stays quick.
# ruff: noqa: PLC0415

CacheDirOption = Annotated[
    str | None, typer.Option("--cache-dir", metavar="D", help="Where the disk cache lives.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(name="cache", help="Look after the disk cache of this node.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the group to `parent`."""
    parent.add_typer(app)


@app.command("show")
def show(cache_dir: CacheDirOption = None, as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Say how full the cache is.

    --json prints an object: directory, exists, used, ceiling, free, reserve, pinned (bytes), objects, complete,
    processes (counts).
    """
    import json

    import msgspec

    from mountd.modes import cache

    del workspace  # every command takes it
    found = cache.report(_options(cache_dir))
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=2))
        return
    if not found.exists:
        typer.echo(f"{found.directory}: nothing was cached here yet")
        return
    lines = [
        ("used", f"{format_size(found.used)} of {format_size(found.ceiling)}"),
        ("disk", f"{format_size(found.free)} free, {format_size(found.reserve)} of it are left alone"),
        ("objects", f"{found.objects}, {found.complete} of them complete"),
        ("pinned", format_size(found.pinned)),
        ("in use by", f"{found.processes} mounts"),
    ]
    typer.echo("\n".join([found.directory, *(f"  {name.ljust(9)}  {text}" for name, text in lines)]))


@app.command("clear")
def clear(cache_dir: CacheDirOption = None, workspace: WorkspaceOption = None) -> None:
    """Empty the cache, pinned objects included; mounts that use it go on."""
    from mountd.modes import cache

    del workspace  # every command takes it
    directory = _options(cache_dir).cache_dir
    typer.echo(f"removed {cache.clear(directory)} objects from {directory}")


@app.command("verify")
def verify(cache_dir: CacheDirOption = None, as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Read everything in the cache and compare it with its checksums; exit with 7 if something was wrong.

    What was wrong is forgotten and fetched again when it is needed. --json prints an object: objects, bytes, bad.
    """
    import json

    import msgspec

    from mountd.modes import cache

    del workspace  # every command takes it
    directory = _options(cache_dir).cache_dir

    live = redraws(sys.stderr)

    def tell(so_far: "Verified") -> None:
        if live:
            typer.echo(f"\r{so_far.objects} objects, {format_size(so_far.bytes)}", err=True, nl=False)

    found = cache.verify(directory, tell)
    if live:
        typer.echo("\r\x1b[K", err=True, nl=False)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=2))
    elif not found.bad:
        typer.echo(f"{directory}: {found.objects} objects, {format_size(found.bytes)}, all as they were written")
    if found.bad:
        raise UnsafeError(
            f"cache {directory}: {found.bad} of its pieces not as written; forgotten, and fetched again when needed; "
            "check the disk if this repeats"
        )


def _options(cache_dir: str | None) -> "MountOptions":
    from mountd.config.config_file import read_config
    from mountd.config.options import settle

    return settle({"cache_dir": cache_dir}, [], os.environ, read_config(os.environ))
