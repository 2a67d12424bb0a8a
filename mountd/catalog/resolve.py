"""From what the user wrote to the store and the path to open, with the credential that goes there.

Looks at YAML files and at the local file system, never at the network. A credential for storage goes only to the
account it is for: never to a web file's server, and a SAS never to another endpoint than its datastore's.
"""

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mountd.catalog.connection_string import EMULATOR_ACCOUNT, EMULATOR_KEY, VARIABLE, parse_connection_string
from mountd.catalog.credentials import Credentials, check_credentials
from mountd.catalog.dataset import DatasetDefinition, DatasetPath, parse_path
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.dataset_yaml import RegisteredDataset, read_data_asset
from mountd.catalog.datastore_kinds import BlobDatastore
from mountd.catalog.layout import web_key
from mountd.catalog.model import (
    AccountKey,
    Anonymous,
    BlobSpec,
    Credential,
    DatasetSource,
    DatasetSpec,
    LeafSpec,
    LocalSpec,
    Location,
    Sas,
    known_to_be_pinned,
)
from mountd.catalog.naming import is_loopback, is_utf8
from mountd.catalog.packed_listing import PackedSource, read_header
from mountd.catalog.source import (
    AdlsUrl,
    BlobUrl,
    DatasetReference,
    DatastorePath,
    DataYaml,
    LocalPath,
    Source,
    WebUrl,
    WorkspaceId,
    parse_source,
)
from mountd.catalog.web_url import WebAddress, parse_web_url, shown_url, web_spec
from mountd.catalog.workspace import Workspace
from mountd.errors import DeniedError, NotFoundError, UsageError
from mountd.observe.redaction import redact


def resolve(
    source: str,
    *,
    workspace: Workspace | None,
    environ: Mapping[str, str],
    cwd: Path,
    must_exist: bool = True,
) -> Location:
    """Return the place that `source` names.

    Args:
        source: any SOURCE form of `catalog.source`; with a pattern (`catalog.pattern`) it is a dataset of its own.
        workspace: where datastores are looked up.
        environ: the storage variables of the Azure command line (`AZURE_STORAGE_…`).
        cwd: where relative paths start; absolute.
        must_exist: whether a local path has to exist. A TARGET that does not becomes a path below the nearest
            directory that does.

    Raises:
        UsageError: `source` is malformed, or of a kind that this version has no store for.
        NotFoundError: no such local path, datastore or workspace.
    """
    resolver = _Resolver(workspace, environ, must_exist)
    parsed = parse_source(source, environ)
    if must_exist and "*" in source and not isinstance(parsed, WebUrl | DataYaml):
        path = parse_path(source, environ, cwd)
        if path.pattern:
            return resolver.dataset(path.text, DatasetDefinition(paths=(source,)), path.text, cwd, None)
    return resolver.resolve(source, parsed, cwd)


def dataset_location(
    dataset: RegisteredDataset | DatasetDefinition,
    *,
    workspace: Workspace | None,
    environ: Mapping[str, str],
    cwd: Path,
) -> Location:
    """Return the files of `dataset` as a place; arguments and errors as for `resolve`.

    Those of a definition that nobody keeps are listed for each use.
    """
    resolver = _Resolver(workspace, environ, must_exist=True)
    if isinstance(dataset, DatasetDefinition):
        name = dataset.shown_paths[0] if len(dataset.paths) == 1 else f"{len(dataset.paths)} paths"
        return resolver.dataset(name, dataset, name, cwd, None)
    return resolver.dataset(dataset.title, dataset.definition, dataset.title, cwd, dataset.listing)


@dataclass(frozen=True, slots=True)
class _Resolver:
    workspace: Workspace | None
    environ: Mapping[str, str]
    must_exist: bool

    def resolve(self, text: str, source: Source, cwd: Path) -> Location:
        shown = redact(text)
        match source:
            case DatastorePath():
                return self._datastore(shown, source)
            case BlobUrl():
                spec = BlobSpec(
                    account_name=source.account_name,
                    container=source.container,
                    account_url=source.account_url,
                    credential=self._credential(source),
                )
                return Location(store=spec, path=source.path, source=shown)
            case LocalPath():
                return self._local(shown, cwd / source.path)
            case DataYaml():
                return self._data_yaml(text, source, cwd)
            case DatasetReference():
                workspace = self._workspace(shown, source.workspace)
                found = DatasetRegistry(workspace).find(source.name, source.version)
                title = f"azureml:{found.title}"  # with the version that is the latest now
                return self.dataset(title, found.definition, found.title, workspace.root, found.listing)
            case AdlsUrl():
                raise UsageError(
                    f"{shown}: Data Lake Gen2 is not in this version; an account that also answers as Blob storage "
                    f"can be reached at https://…/{source.filesystem}/{source.path}"
                )
            case WebUrl():
                if not self.must_exist:
                    where = shown_url(source.url)
                    raise UsageError(f"{where}: web files are for reading only; name a place in a datastore")
                address = parse_web_url(source.url)
                name = address.file_name
                return Location(store=web_spec([(name, address)]), path=name, source=address.shown)

    def _workspace(self, shown: str, named: WorkspaceId | None) -> Workspace:
        workspace = self.workspace
        if workspace is None:
            raise NotFoundError(
                f"{shown}: no workspace here or above; make one with `mountd workspace init` or give --workspace"
            )
        if named is not None and workspace.names_azure:
            config = workspace.config()
            for key, wanted in named._asdict().items():
                have = config.get(key)
                if isinstance(have, str) and have.lower() != wanted.lower():
                    raise UsageError(f"{shown}: is of another workspace: {key} in {workspace.root} is {have}")
        return workspace

    def _datastore(self, shown: str, source: DatastorePath) -> Location:
        workspace = self._workspace(shown, source.workspace)
        datastore = workspace.datastore(source.datastore)
        store = datastore.store(workspace.datastores_directory)
        path = source.path
        if isinstance(store, LocalSpec):
            path = "/".join(part for part in path.split("/") if part)
        return Location(store=store, path=path, source=shown, attr_ttl_s=datastore.attr_ttl_s)

    def _local(self, shown: str, path: Path) -> Location:
        # The last name stays as written: a link to a file shows up under the link's name.
        parent = Path(os.path.realpath(path.parent))
        target = parent / path.name if path.name not in {"", ".."} else Path(os.path.realpath(path))
        if not is_utf8(os.path.realpath(target)) or not is_utf8(str(target)):
            raise UsageError(f"{shown}: the path to it is not UTF-8")
        # A relative path says nothing to whoever lists the mounts from elsewhere.
        whole = shown if "://" in shown else str(target)
        kind = _file_kind(target, shown)
        if kind == stat.S_IFDIR:
            return Location(store=LocalSpec(path=os.path.realpath(target)), path="", source=whole)
        if kind == stat.S_IFREG:
            return Location(store=LocalSpec(path=str(parent)), path=target.name, source=whole)
        if kind is not None:
            raise UsageError(f"{shown}: is neither a file nor a directory")
        if self.must_exist:
            raise NotFoundError(f"{shown}: there is no such file or directory")
        base = next(ancestor for ancestor in target.parents if ancestor.exists())
        if not base.is_dir():
            raise UsageError(f"{shown}: {base} is a file")
        return Location(store=LocalSpec(path=str(base)), path=str(target.relative_to(base)), source=whole)

    def _data_yaml(self, text: str, source: DataYaml, cwd: Path) -> Location:
        path = cwd / source.path
        if _file_kind(path, redact(text)) == stat.S_IFDIR:
            return self._local(redact(text), path)
        asset = read_data_asset(path)
        if asset.path is not None and asset.type not in {"file_dataset", "tabular"}:
            inner = parse_source(asset.path, self.environ)
            if isinstance(inner, DataYaml):
                raise UsageError(f"{path}: path: names another YAML file; write file:// for the file itself")
            if isinstance(inner, DatasetReference) or not self._parse(asset.path, path.parent).pattern:
                found = self.resolve(asset.path, inner, path.parent)
                return msgspec.structs.replace(found, source=redact(text))
        return self.dataset(redact(text), asset.definition, redact(text), path.parent, None)

    def dataset(
        self, shown: str, definition: DatasetDefinition, name: str, cwd: Path, listing: Path | None
    ) -> Location:
        """Return the files of `definition` as a place; relative paths start at `cwd`.

        Of a pinned one the listing says what each path was, so that what has vanished since costs its own files only,
        and a store keeps its number when others have become equal to it.
        """
        header = None if listing is None else read_header(listing)
        pinned = () if header is None or len(header.sources) != len(definition.paths) else header.sources
        stores: dict[LeafSpec | None, int] = {}
        web: dict[str, WebAddress] = {}
        sources: list[DatasetSource] = []
        for number, text in enumerate(definition.paths):
            parsed = self._parse(text, cwd)
            store: LeafSpec | None
            if isinstance(parsed.source, WebUrl):
                address = parse_web_url(parsed.source.url)
                store, path = None, web_key(address)
                if web.setdefault(path, address) != address:
                    raise UsageError(f"{web[path].shown} and {address.shown}: both show something at {path!r}")
            elif pinned and isinstance(parsed.source, LocalPath):
                store, path = _as_pinned(cwd / parsed.source.path, pinned[number])
            else:
                found = self.resolve(text, parsed.source, cwd)
                assert not isinstance(found.store, DatasetSpec), "a dataset holds no other"
                store, path = found.store, found.path
            sources.append(
                DatasetSource(
                    store=stores.setdefault(store, len(stores)),
                    path=path,
                    pattern=parsed.pattern,
                    is_file=store is None or definition.type == "uri_file",
                    is_folder=definition.type == "uri_folder",
                    text=parsed.text,
                )
            )
        one_for_the_web = web_spec(web.items()) if web else None
        opened = [spec for spec in (one_for_the_web if store is None else store for store in stores) if spec]
        if pinned:
            by_number = {packed.store: opened[source.store] for packed, source in zip(pinned, sources, strict=True)}
            opened = [by_number[number] for number in sorted(by_number)]
        spec = DatasetSpec(
            name=name,
            stores=tuple(opened),
            sources=tuple(sources),
            steps=definition.steps,
            listing=None if listing is None else str(listing),
        )
        found = Location(store=spec, path="", source=shown, attr_ttl_s=math.inf)
        return known_to_be_pinned(found) if listing is not None and listing.exists() else found

    def _parse(self, text: str, cwd: Path) -> DatasetPath:
        return parse_path(text, self.environ, cwd)

    def _credential(self, url: BlobUrl) -> Credential:
        """Return what to show to the account of a raw URL, in the documented order."""
        if url.sas is not None:
            return Sas(url.sas)
        return self._credential_of_workspace(url) or self._credential_of_environment(url) or _emulators_or_none(url)

    def _credential_of_workspace(self, url: BlobUrl) -> Credential | None:
        for datastore in self.workspace.datastores() if self.workspace else []:
            if (
                isinstance(datastore, BlobDatastore)
                and datastore.credentials is not None
                and (datastore.account_name, datastore.container_name) == (url.account_name, url.container)
            ):
                credential = datastore.credentials.credential
                # A key never leaves this process, a SAS does: it must not follow a look-alike URL to another server.
                if not isinstance(credential, Sas) or _same_endpoint(datastore.account_url, url.account_url):
                    return credential
        return None

    def _credential_of_environment(self, url: BlobUrl) -> Credential | None:
        environ = self.environ
        text = environ.get(VARIABLE)
        if text:
            parsed = parse_connection_string(text, VARIABLE)
            if parsed.account_name == url.account_name:
                if parsed.account_key:
                    return check_credentials(Credentials(account_key=parsed.account_key), VARIABLE).credential
                if parsed.sas_token and _same_endpoint(parsed.account_url, url.account_url):
                    return check_credentials(Credentials(sas_token=parsed.sas_token), VARIABLE).credential
        if environ.get("AZURE_STORAGE_ACCOUNT") in (None, "", url.account_name):
            if environ.get("AZURE_STORAGE_KEY"):
                given = Credentials(account_key=environ["AZURE_STORAGE_KEY"])
                return check_credentials(given, "AZURE_STORAGE_KEY").credential
            if environ.get("AZURE_STORAGE_SAS_TOKEN"):
                given = Credentials(sas_token=environ["AZURE_STORAGE_SAS_TOKEN"])
                return check_credentials(given, "AZURE_STORAGE_SAS_TOKEN").credential
        return None


def _as_pinned(path: Path, packed: PackedSource) -> tuple[LocalSpec, str]:
    """Return store and path of a local source without a look at what is there now."""
    if packed.key:  # a directory is a store of its own
        return LocalSpec(path=os.path.realpath(path.parent)), path.name
    return LocalSpec(path=os.path.realpath(path)), ""


def _file_kind(path: Path, shown: str) -> int | None:
    """Return the type bits of what is at `path`, links followed; None if nothing is there."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise DeniedError(f"{shown}: permission to look at it is missing") from None
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror}") from None


def _emulators_or_none(url: BlobUrl) -> Credential:
    host = url.account_url.partition("://")[2].partition("/")[0]
    if url.account_name == EMULATOR_ACCOUNT and is_loopback(host):
        return AccountKey(EMULATOR_KEY)
    return Anonymous()


def _same_endpoint(one: str, other: str) -> bool:
    return _endpoint(one) == _endpoint(other)


def _endpoint(account_url: str) -> tuple[str, str]:
    scheme, _, rest = account_url.lower().partition("://")
    host = rest.partition("/")[0]
    if is_loopback(host):
        return scheme, f"loopback:{host.rpartition(':')[2]}"
    return scheme, host.partition(".blob.")[2] or host
