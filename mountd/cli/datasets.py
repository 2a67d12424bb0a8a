"""`mountd dataset`."""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mountd.cli.workspace_option import WorkspaceOption, accept_before_commands, open_workspace
from mountd.errors import MountdError, NotFoundError, UsageError
from mountd.observe.terminals import redraws

if TYPE_CHECKING:
    from mountd.catalog.dataset_registry import DatasetRegistry
    from mountd.catalog.dataset_yaml import RegisteredDataset
    from mountd.catalog.model import DatasetSpec, Location
    from mountd.catalog.packed_listing import PackedListing

# Heavy modules are imported where they are needed: `mountd --help` stays quick.
# ruff: noqa: PLC0415

T = TypeVar("T")

dataset_app = typer.Typer(name="dataset", help="Name sets of files that never change.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ReferenceArgument = Annotated[
    str, typer.Argument(metavar="NAME[:VERSION]", help="The latest version if left out.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    accept_before_commands(dataset_app)
    app.add_typer(dataset_app)


@dataset_app.command("create")
def create(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            "--path",
            "-p",
            metavar="SOURCE",
            help="Where files are; * and ** are patterns. Give it again for more.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="F.yml", help="Azure ML CLI v2 YAML.", show_default=False)
    ] = None,
    description: Annotated[str | None, typer.Option("--description", show_default=False)] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="K=V", show_default=False)] = None,
    new_version: Annotated[bool, typer.Option("--new-version", help="The name may be taken: add a version.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a dataset and pin its files: from then on it never changes.

    SOURCE is a datastore path (azureml://datastores/NAME/paths/P), a Blob or web URL, or a path on this node. Reading
    it later gives the bytes that are there now, or an error that names the file that was changed. The same definition
    again changes description and tags at most; with --new-version it becomes a version of its own if the files were
    changed since. With --file, NAME and the other options replace what the file says.
    """
    from mountd.catalog.dataset import define
    from mountd.catalog.dataset_yaml import DataAsset, read_data_asset

    registry = _registry(workspace)
    asset, base = DataAsset(type="file_dataset", paths=tuple(path or ())), Path.cwd()
    if file is not None:
        if path:
            raise UsageError("--file: the file names the paths; leave --path out")
        asset, base = read_data_asset(file), file.absolute().parent
    if not asset.all_paths:
        raise UsageError("dataset create: name the files with --path SOURCE or --file F.yml")
    chosen = name or asset.name
    if chosen is None:
        raise UsageError("dataset create: NAME is missing")
    definition = define(
        asset.all_paths,
        environ=os.environ,
        cwd=base,
        type=asset.type,
        steps=asset.steps,
        format=asset.format,
        options=asset.options,
    )
    known = registry.identical(definition, chosen) if new_version else None
    registered, made, updated = registry.register(
        definition,
        chosen,
        description=description if description is not None else asset.description,
        tags={**{key: str(value) for key, value in asset.tags.items()}, **_tags(tag or [])},
        version=None if asset.version is None or new_version else str(asset.version),
        new_version=new_version,
        even_if_identical=known is not None and _is_outdated(registry, known),
    )
    try:
        listing = pin(_spec(registry, registered))
    except (MountdError, KeyboardInterrupt):
        if made:  # a dataset whose files nobody saw is of no use to anybody
            registry.remove(chosen, registered.version)
        raise
    if as_json:
        _print_json(_described(registry, registered, listing))
        return
    from mountd.units import format_size

    count = len(listing)
    what = f"{count} {'file' if count == 1 else 'files'}, {format_size(listing.total_bytes)}"
    how = "Registered" if made else "Already registered, identical:"
    typer.echo(f"{how} {registered.title} with {what}{'; description and tags are set' if updated else ''}")
    if hidden := listing.header.hidden_count:
        first = listing.header.hidden[0].path
        how_many = "1 file is" if hidden == 1 else f"{hidden} files are"
        typer.echo(
            f"mountd: {how_many} not shown, for its name or for a directory of its name; the first is {first!r}",
            err=True,
        )


@dataset_app.command("list")
def list_datasets(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the datasets, with their latest versions.

    --json prints a list of objects as `show` does.
    """
    from mountd.cli.render import table

    registry = _registry(workspace)
    found = registry.latest()
    if as_json:
        _print_json([_described(registry, dataset, None) for dataset in found])
        return
    rows = [
        [dataset.name or "", dataset.version or "", dataset.created.strftime("%Y-%m-%d %H:%M"), _where(dataset)]
        for dataset in found
    ]
    typer.echo(table(["NAME", "LATEST", "REGISTERED (UTC)", "PATHS"], rows) if rows else "no datasets")


@dataset_app.command("show")
def show(
    reference: ReferenceArgument,
    files: Annotated[bool, typer.Option("--files", help="Print the path of each file, nothing else.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a dataset; if it was never used, its files are not known yet.

    --json prints an object: name, version, id, type, paths, steps, description, tags, created, versions, pinned, and,
    once it is pinned, files, bytes and hidden_files.
    """
    registry = _registry(workspace)
    dataset = registry.get(*_reference(reference))
    if files:
        for path in pin(_spec(registry, dataset)).paths():
            sys.stdout.write(path.encode("utf-8", "backslashreplace").decode() + "\n")
        return
    shown = _described(registry, dataset, _pinned(dataset))
    if as_json:
        _print_json(shown)
        return
    width = max(len(key) for key in shown) + 1
    for key, value in shown.items():
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | tuple | bool) else value
        typer.echo(f"{key + ':':<{width}} {'' if text is None else text}".rstrip())


@dataset_app.command("remove")
def remove(
    reference: ReferenceArgument,
    every: Annotated[bool, typer.Option("--all-versions", help="All versions of NAME.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Forget one version of a dataset, or all; the files themselves stay."""
    registry = _registry(workspace)
    name, version = _reference(reference)
    if every and version is not None:
        raise UsageError("--all-versions and a version: give one")
    if not every:
        version = registry.get(name, version).version
    gone = registry.remove(name, None if every else version)
    typer.echo(f"Removed {', '.join(dataset.title for dataset in gone)}; the data is untouched")


def pin(spec: "DatasetSpec") -> "PackedListing":
    """Return the files of a dataset, pinned now if they were not; says how far it is on a terminal."""
    from mountd.modes.datasets import listing_of

    live = redraws(sys.stderr)

    def tell(files: int) -> None:
        if live:
            typer.echo(f"\rlisting {spec.name}: {files:,} files", nl=False, err=True)

    try:
        return _run(partial(listing_of, spec, progress=tell))
    finally:
        if live:
            typer.echo("\r\033[K", nl=False, err=True)


def pin_before_mount(location: "Location") -> "Location":
    """Return `location`; pins a kept dataset that was never used, which may take longer than a mount is given."""
    from mountd.catalog.model import DatasetSpec, known_to_be_pinned

    spec = location.store
    if isinstance(spec, DatasetSpec) and spec.listing is not None and not Path(spec.listing).exists():
        pin(spec)
        return known_to_be_pinned(location)
    return location


def _is_outdated(registry: "DatasetRegistry", dataset: "RegisteredDataset") -> bool:
    from mountd.modes.datasets import is_outdated

    return _run(
        partial(is_outdated, dataset, workspace=registry.workspace, environ=os.environ, cwd=registry.workspace.root)
    )


def _run(work: Callable[[], Awaitable[T]]) -> T:
    import trio

    from mountd.observe.logs import configure

    async def outcome() -> T | MountdError:
        try:
            return await work()
        except MountdError as error:
            return error

    configure()
    result = trio.run(outcome)
    if isinstance(result, MountdError):
        raise result
    return result


def _registry(explicit: Path | None) -> "DatasetRegistry":
    from mountd.catalog.dataset_registry import DatasetRegistry

    found = open_workspace(explicit)
    if found is None:
        raise NotFoundError("no workspace here or above; make one with `mountd workspace init` or give --workspace")
    return DatasetRegistry(found)


def _spec(registry: "DatasetRegistry", dataset: "RegisteredDataset") -> "DatasetSpec":
    from mountd.catalog.model import DatasetSpec
    from mountd.catalog.resolve import dataset_location

    store = dataset_location(
        dataset, workspace=registry.workspace, environ=os.environ, cwd=registry.workspace.root
    ).store
    assert isinstance(store, DatasetSpec), "the location of a dataset is one"
    return store


def _reference(text: str) -> tuple[str, str | None]:
    """Return name and version of `NAME`, `NAME:VERSION`, `NAME@latest`, with or without `azureml:` in front."""
    from mountd.catalog.source import DatasetReference, parse_source

    parsed = parse_source(text if text.startswith("azureml:") else f"azureml:{text}", {})
    if not isinstance(parsed, DatasetReference):
        raise UsageError(f"{text}: write NAME or NAME:VERSION")
    return parsed.name, parsed.version


def _tags(texts: list[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--tag takes K=V, and {text!r} is not")
        tags[key] = value
    return tags


def _pinned(dataset: "RegisteredDataset") -> "PackedListing | None":
    from mountd.catalog.packed_listing import read_listing

    return read_listing(dataset.listing) if dataset.listing.exists() else None


def _described(
    registry: "DatasetRegistry", dataset: "RegisteredDataset", listing: "PackedListing | None"
) -> dict[str, Any]:
    import msgspec

    shown: dict[str, Any] = {
        "name": dataset.name,
        "version": dataset.version,
        "id": dataset.id,
        "type": dataset.definition.type,
        "paths": dataset.definition.shown_paths,
        "steps": msgspec.to_builtins(dataset.definition.steps),
        "description": dataset.description,
        "tags": dataset.tags,
        "created": dataset.created.isoformat(timespec="seconds"),
        "versions": [other.version for other in registry.versions(dataset.name or "")],
        "pinned": listing is not None or dataset.listing.exists(),
    }
    if listing is not None:
        shown |= {
            "files": len(listing),
            "bytes": listing.total_bytes,
            "hidden_files": listing.header.hidden_count,
        }
    return shown


def _where(dataset: "RegisteredDataset") -> str:
    first, *more = dataset.definition.shown_paths
    return first + (f" and {len(more)} more" if more else "")


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
