"""`mountd mount`, `unmount`, `list`, `status` and `version`."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mountd.cli.datasets import pin_before_mount
from mountd.cli.workspace_option import WorkspaceOption, directory_named, open_workspace
from mountd.errors import DeadlineError, MountdError, UsageError
from mountd.observe.terminals import complain, silence

if TYPE_CHECKING:
    from mountd.modes.mount_spec import MountSpec
    from mountd.wire.messages import MountRecord

# Heavy modules are imported where they are needed: `mountd --help` stays quick.
# ruff: noqa: PLC0415

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("mount")(mount)
    app.command("unmount")(unmount)
    app.command("list")(list_mounts)
    app.command("status")(status)
    app.command("version")(version)


def _option(name: str, metavar: str, text: str) -> Any:
    return typer.Option(name, metavar=metavar, help=text, show_default=False)


def mount(
    source: Annotated[str, typer.Argument(metavar="SOURCE", show_default=False)],
    mountpoint: Annotated[str, typer.Argument(metavar="MOUNTPOINT", show_default=False)],
    mode: Annotated[str | None, _option("--mode", "auto|stream|download", "How data reaches the reader.")] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, log to standard error, unmount on Ctrl-C.")
    ] = False,
    name: Annotated[str | None, _option("--name", "N", "Its name in lists; the mount point's if left out.")] = None,
    allow_other: Annotated[bool, typer.Option("--allow-other", help="Let other users in.")] = False,
    cache_dir: Annotated[str | None, _option("--cache-dir", "D", "Where the disk cache lives.")] = None,
    cache_size: Annotated[str | None, _option("--cache-size", "S", "Ceiling of the disk cache.")] = None,
    cache_reserve: Annotated[str | None, _option("--cache-reserve", "S", "Bytes of its disk left to others.")] = None,
    cache_prune_threshold: Annotated[
        str | None, _option("--cache-prune-threshold", "0…1", "Part of the ceiling from which on it makes room.")
    ] = None,
    cache_prune_target: Annotated[
        str | None, _option("--cache-prune-target", "0…1", "Part of the ceiling down to which it makes room.")
    ] = None,
    memory: Annotated[str | None, _option("--memory", "S", "Ceiling of the memory cache, such as 512MiB.")] = None,
    attr_ttl: Annotated[str | None, _option("--attr-ttl", "T", "How long names are used without asking: 30s.")] = None,
    uid: Annotated[str | None, _option("--uid", "N", "The owner that files show.")] = None,
    gid: Annotated[str | None, _option("--gid", "N", "The group that files show.")] = None,
    file_mode: Annotated[str | None, _option("--file-mode", "MODE", "The mode that files show: 0644.")] = None,
    dir_mode: Annotated[str | None, _option("--dir-mode", "MODE", "The mode that directories show: 0755.")] = None,
    request_deadline: Annotated[
        str | None, _option("--request-deadline", "T", "A request without progress for so long ends in EIO.")
    ] = None,
    fuse_engine: Annotated[
        str | None, _option("--fuse-engine", "direct|libfuse", "Who answers the kernel's requests.")
    ] = None,
    passthrough: Annotated[
        bool, typer.Option("--passthrough", help="The kernel reads large files of the disk cache itself.")
    ] = False,
    options: Annotated[
        list[str] | None, _option("-o", "KEY=VALUE,…", "Any option; `-o k=v` is the same as `--k v`.")
    ] = None,
    rw: Annotated[bool, typer.Option("--rw", hidden=True)] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Mount SOURCE at MOUNTPOINT and return when it can be read.

    SOURCE is a datastore path (azureml://datastores/NAME/paths/P), a dataset (azureml:NAME:VERSION), a Blob URL, a
    directory or a data YAML. MOUNTPOINT is an empty directory, made if it is missing.
    """
    if rw:
        raise UsageError("--rw: writing through a mount is not in this version; leave it out to mount read-only")
    flags = {
        "mode": mode,
        "allow_other": "true" if allow_other else None,
        "cache_dir": cache_dir,
        "cache_size": cache_size,
        "cache_reserve": cache_reserve,
        "cache_prune_threshold": cache_prune_threshold,
        "cache_prune_target": cache_prune_target,
        "memory": memory,
        "attr_ttl": attr_ttl,
        "uid": uid,
        "gid": gid,
        "file_mode": file_mode,
        "dir_mode": dir_mode,
        "request_deadline": request_deadline,
        "fuse_engine": fuse_engine,
        "passthrough": "true" if passthrough else None,
    }
    from mountd.config.option_values import parse_boolean
    from mountd.config.options import parse_o_options

    pairs = parse_o_options(options or [])
    stays = pairs.pop("foreground", None)
    if stays is not None:
        foreground = _agreed("foreground", "true" if foreground else None, stays, parse_boolean)
    named = pairs.pop("workspace", None)
    if named is not None:
        workspace = _agreed("workspace", None if workspace is None else str(workspace), named, directory_named)
    spec = _spec(source, mountpoint, name, flags, pairs, workspace)
    if foreground:
        _mount_in_foreground(spec)
        return
    from mountd.client import api

    record = api.mount(spec)
    if spec.options.mode == "download":
        from mountd.cli import filling

        try:
            filling.wait(record.mountpoint)
        except BaseException:
            api.unmount(record.mountpoint, lazy=True)
            raise
    _say_mounted(record)


def unmount(
    mountpoints: Annotated[list[str] | None, typer.Argument(metavar="[MOUNTPOINT]…", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Unmount everything that mountd has mounted for you.")] = False,
    lazy: Annotated[bool, typer.Option("--lazy", help="Detach now; serve what is open to its end.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Unmount; if something is in use, say by whom and exit with 6."""
    from mountd.client import api

    del workspace  # every command takes it
    if every == bool(mountpoints):
        raise UsageError("unmount: name the mount points, or give --all")
    failures: list[MountdError] = []
    if every:
        records = [record for record in api.list_mounts() if record.state != "detached"]
        mountpoints = [record.mountpoint for record in records if record.mountpoint]
        failures = [DeadlineError(f"unmount: {record.last_error}") for record in records if not record.mountpoint]
    for target in mountpoints or []:
        try:
            note = api.unmount(target, lazy=lazy)
            _say(f"unmounted {target}{f'; {note}' if note else ''}")
        except MountdError as error:
            failures.append(error)
    for failure in failures[:-1]:
        complain(f"mountd: error: {failure.message}")
    if failures:
        raise failures[-1]


def list_mounts(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List what is mounted.

    --json prints a list of objects: name, mountpoint, source, mode, state (starting, ready, restarting, failed,
    stopping, detached, not answering), since (seconds since 1970), supervisor_pid, worker_pid, private, restarts,
    last_error, log, details, statistics (null here).
    """
    from mountd.client import api

    del workspace  # every command takes it
    _print(api.list_mounts(), as_json=as_json, detailed=False)


def status(
    mountpoint: Annotated[str | None, typer.Argument(metavar="[MOUNTPOINT]", show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how mounts are doing: how much was read and fetched, how full, how slow, and why.

    --json prints a list of objects like `list --json`, with `statistics` filled in: reads, bytes_read, bytes_fetched,
    store_requests, store_retries, store_errors, cache_hits, cache_misses, memory_used, memory_limit, memory_peak,
    inodes, open_handles, changed_objects, handler_errors, hidden_names, waiting_for, refused (path, why, changed),
    disk_* (hits, misses, bytes_hit, bytes_kept, bytes_dropped, evictions, errors, corrupt, used, limit, objects,
    pinned), fill and prefetches (ticket, state, note, bytes, bytes_total, files, files_total).
    """
    from mountd.client import api

    del workspace  # every command takes it
    _print(api.status(mountpoint), as_json=as_json, detailed=True)


def version(workspace: WorkspaceOption = None) -> None:
    """Print the version."""
    from importlib import metadata

    del workspace  # every command takes it
    typer.echo(f"mountd {metadata.version('mountd')}")


def _spec(
    source: str,
    mountpoint: str,
    name: str | None,
    flags: dict[str, str | None],
    pairs: dict[str, str],
    workspace: Path | None,
) -> "MountSpec":
    from mountd.catalog.model import DatasetSpec
    from mountd.catalog.resolve import resolve
    from mountd.catalog.source import DataYaml, parse_source
    from mountd.client import api
    from mountd.config.config_file import read_config
    from mountd.config.options import settle
    from mountd.modes.mount_spec import MountSpec

    named = pairs.pop("name", None)  # names the mount for mountd, and is nothing the mount itself has to know
    if named is not None:
        name = _agreed("name", name, named, str)
    o_options = [f"{key}={value}" for key, value in pairs.items()]
    named_place = resolve(source, workspace=open_workspace(workspace, [source]), environ=os.environ, cwd=Path.cwd())
    location = pin_before_mount(named_place)
    settled = settle(flags, o_options, os.environ, read_config(os.environ), datastore_ttl_s=location.attr_ttl_s)
    path = api.real_mountpoint(mountpoint)
    eager = isinstance(location.store, DatasetSpec) or isinstance(parse_source(source, os.environ), DataYaml)
    return MountSpec(name=api.free_name(name, path), mountpoint=path, location=location, options=settled, eager=eager)


def _agreed(key: str, flag: str | None, pair: str, parse: Callable[[str], T]) -> T:
    """Return what `-o KEY=pair` says, unless `--KEY flag` says something else."""
    try:
        value = parse(pair)
    except ValueError as error:
        raise UsageError(f"-o {key}={pair}: {error}") from None
    if flag is not None and parse(flag) != value:
        raise UsageError(f"--{key} and -o {key}={pair}: say different things; give one")
    return value


def _mount_in_foreground(spec: "MountSpec") -> None:
    from mountd.cli import filling
    from mountd.daemon.program import run_foreground
    from mountd.observe import logs
    from mountd.wire.codec import pack
    from mountd.wire.runtime_directory import runtime_directory

    def ready(record: "MountRecord") -> None:
        if spec.options.mode == "download":
            filling.wait(record.mountpoint)
        _say_mounted(record)

    logs.configure()
    run_foreground(runtime_directory(), pack(spec), ready)


def _say_mounted(record: "MountRecord") -> None:
    _say(f"mounted {record.source} at {record.mountpoint}")


def _say(text: str) -> None:
    """Say what was done. If nobody listens, or a disk is full, it was done all the same."""
    try:
        typer.echo(text)
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)


def _print(records: "list[MountRecord]", *, as_json: bool, detailed: bool) -> None:
    import json

    from mountd.cli import render

    if as_json:
        typer.echo(json.dumps(render.as_plain(records), indent=2))
    elif detailed:
        typer.echo(render.status_blocks(records, time.time()))
    else:
        typer.echo(render.mount_table(records, time.time()))
