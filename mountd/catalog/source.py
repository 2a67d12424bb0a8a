"""Every way to write a SOURCE or TARGET, parsed into a typed value.

Pure: no files, no network; `environ` is only asked which account an emulator's URL may name. Rules:

- Any text parses or raises `UsageError`; nothing else comes out.
- What has a scheme is a URI: its path is percent-decoded once, as UTF-8, and a `+` stays a `+`. Bare paths are literal.
- Paths in stores have no leading or trailing slash and no `.` segments; a `..` segment is refused in every spelling.
- `uri` of a value parses to an equal value. It holds the SAS that was given: show `redact(...)` of it only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from mountd.catalog.connection_string import EMULATOR_ACCOUNT, account_of
from mountd.catalog.naming import (
    CONTAINER_RULE,
    DATASTORE_RULE,
    is_account_name,
    is_container_name,
    is_datastore_name,
    is_emulator_host,
    is_utf8,
    split_host,
)
from mountd.errors import UsageError
from mountd.observe.redaction import redact

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SHORT_SCHEME = re.compile(r"(azureml|file|https?|wasbs?|abfss?|adl):", re.IGNORECASE)
_HAS_QUERY = re.compile(r"((?:https?|wasbs?):[^?]*)\?", re.IGNORECASE)
_URL = re.compile(r"([^:]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_DATASET = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?::([^:@/\s]+)|@(latest))?")
_LONG_SCOPE = re.compile(
    r"subscriptions/([^/]+)/resourcegroups/([^/]+)/(?:providers/microsoft\.machinelearningservices/)?workspaces/([^/]+)/",
    re.IGNORECASE,
)
_PATH_SAFE = "/-_.~!$&'()*+,;=:@"


class WorkspaceId(NamedTuple):
    """The workspace that a long azureml URI names."""

    subscription_id: str
    resource_group: str
    workspace_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastorePath:
    """`azureml://datastores/<ds>[/paths/<p>]`, short or long."""

    datastore: str
    """Lower case, as datastores are found."""
    path: str = ""
    workspace: WorkspaceId | None = None

    @property
    def uri(self) -> str:
        """The canonical text."""
        return f"{_scope(self.workspace)}datastores/{self.datastore}/paths/{quote(self.path, safe=_PATH_SAFE)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReference:
    """`azureml:<dataset>[:<version>]`, or the long URI of a data asset."""

    name: str
    version: str | None = None
    """None is the latest."""
    workspace: WorkspaceId | None = None

    @property
    def uri(self) -> str:
        """The canonical text."""
        if self.workspace is None:
            return f"azureml:{self.name}" + (f":{self.version}" if self.version else "")
        return f"{_scope(self.workspace)}data/{self.name}" + (f"/versions/{self.version}" if self.version else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobUrl:
    """`https://<acct>.blob.…/<container>/<p>`, an emulator's URL, or `wasbs://`."""

    account_name: str
    container: str
    path: str = ""
    account_url: str
    """Without a trailing slash; holds the account's name for an emulator."""
    sas: str | None = field(default=None, repr=False)
    """The query without `?`."""

    @property
    def uri(self) -> str:
        """The canonical text, SAS included."""
        protocol, _, host = self.account_url.partition("://")
        path = quote(self.path, safe=_PATH_SAFE) + (f"?{self.sas}" if self.sas else "")
        if is_emulator_host(host.partition("/")[0]) and self.account_name != EMULATOR_ACCOUNT:
            # as http it is a Blob URL only where the environment names the account
            return f"{'wasbs' if protocol == 'https' else 'wasb'}://{self.container}@{host}/{path}"
        return f"{self.account_url}/{self.container}/{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdlsUrl:
    """`abfss://<filesystem>@<acct>.dfs.…/<p>`."""

    filesystem: str
    host: str
    """Lower case, with the port if one was given."""
    path: str = ""
    secure: bool = True

    @property
    def uri(self) -> str:
        """The canonical text."""
        scheme = "abfss" if self.secure else "abfs"
        return f"{scheme}://{self.filesystem}@{self.host}/{quote(self.path, safe=_PATH_SAFE)}"


@dataclass(frozen=True, slots=True)
class WebUrl:
    """A file on a web server; credentials for storage are never sent there."""

    url: str = field(repr=False)

    @property
    def uri(self) -> str:
        """The canonical text."""
        return self.url


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A file or directory of this node; relative to the current directory unless absolute."""

    path: str

    @property
    def uri(self) -> str:
        """The canonical text."""
        if self.path.startswith("/"):
            return f"file://{quote(self.path, safe=_PATH_SAFE)}"
        return self.path


@dataclass(frozen=True, slots=True)
class DataYaml:
    """A bare path that ends in `.yml` or `.yaml`: an Azure ML v2 data asset, unless a directory is there."""

    path: str

    @property
    def uri(self) -> str:
        """The canonical text."""
        return self.path


Source = DatastorePath | DatasetReference | BlobUrl | AdlsUrl | WebUrl | LocalPath | DataYaml


def parse_source(text: str, environ: Mapping[str, str]) -> Source:
    """Return what `text` names.

    Args:
        text: a SOURCE or TARGET as the user wrote it.
        environ: tells by `AZURE_STORAGE_ACCOUNT` and `AZURE_STORAGE_CONNECTION_STRING` which account an emulator's
            URL may name.

    Raises:
        UsageError: `text` is none of the forms.
    """
    if not text:
        raise UsageError("SOURCE is empty; write a URI, a URL or a path")
    if "\0" in text or not is_utf8(text):
        raise _refused(text, "it holds a NUL character or is not UTF-8")
    match = _SCHEME.match(text)
    if match is None:
        return _parse_without_authority(text)
    scheme = match[1].lower()
    rest = text[match.end() :]
    if scheme == "azureml":
        return _parse_azureml(text, rest)
    if scheme == "file":
        return _parse_file(text, rest)
    if scheme in {"http", "https"}:
        return _parse_web(text, scheme, environ)
    if scheme in {"wasb", "wasbs"}:
        return _parse_wasb(text, scheme)
    if scheme in {"abfs", "abfss"}:
        return _parse_abfs(text, scheme)
    raise _refused(
        text, f"the scheme {scheme}:// is unknown; write azureml, https, wasbs, abfss or file, or ./ for a path"
    )


def store_path(text: str, source: str) -> str:
    """Return `text` as a path in a store: no leading or trailing slash, no `.` segments.

    Empty segments inside are kept: `a//b` is an object of its own in a flat store.

    Raises:
        UsageError: a segment is `..`; `source` is named in the message.
    """
    segments = [segment for segment in text.split("/") if segment != "."]
    if ".." in segments:
        raise _refused(source, "a path in a store cannot hold a `..` segment")
    return "/".join(segments).strip("/")


class _Url(NamedTuple):
    scheme: str
    user: str | None
    host: str
    """Lower case, without the port."""
    netloc: str
    """Host and port."""
    path: str
    """As written, percent-encoded."""
    query: str
    fragment: str | None


def _split(text: str, scheme: str) -> _Url:
    match = _URL.fullmatch(text)
    user, at, netloc = match[2].rpartition("@") if match else ("", "", "")
    address = split_host(netloc)
    if match is None or address is None:
        raise _refused(text, "its host is missing or malformed")
    host, port = address
    netloc = host if port is None else f"{host}:{port}"
    return _Url(scheme, user if at else None, host, netloc, match[3], match[4] or "", match[5])


def _parse_without_authority(text: str) -> Source:
    match = _SHORT_SCHEME.match(text)
    if match is None:
        return DataYaml(text) if text.lower().endswith((".yml", ".yaml")) else LocalPath(text)
    scheme, rest = match[1].lower(), text[match.end() :]
    if scheme == "file" and rest.startswith("/"):
        return LocalPath(_decode(rest, text))
    if scheme != "azureml":
        raise _refused(text, f"write {scheme}:// with two slashes, or ./ in front for a path")
    dataset = _DATASET.fullmatch(rest)
    if dataset is None:
        raise _refused(text, "write azureml:NAME, azureml:NAME:VERSION or azureml://datastores/NAME/paths/PATH")
    return DatasetReference(name=dataset[1], version=dataset[2])


def _parse_azureml(text: str, rest: str) -> Source:
    scope = _LONG_SCOPE.match(rest)
    workspace = None
    if scope is not None:
        workspace = WorkspaceId(*(_decode(part, text) for part in scope.groups()))
        rest = rest[scope.end() :]
    kind, _, rest = rest.partition("/")
    name, _, rest = rest.partition("/")
    if kind.lower() == "datastores":
        keyword, _, path = rest.partition("/")
        if not is_datastore_name(name):
            raise _refused(text, f"a datastore's name is {DATASTORE_RULE}")
        if keyword not in {"", "paths"} or (not keyword and path):
            raise _refused(text, f"write azureml://datastores/{name}/paths/PATH")
        return DatastorePath(datastore=name.lower(), path=store_path(_decode(path, text), text), workspace=workspace)
    if kind.lower() == "data" and workspace is not None:
        keyword, _, version = rest.rstrip("/").partition("/")
        reference = f"{name}:{version}" if version else name
        dataset = _DATASET.fullmatch(reference)
        if (
            dataset is not None
            and dataset[3] is None
            and keyword in {"", "versions"}
            and bool(keyword) == bool(version)
        ):
            return DatasetReference(name=dataset[1], version=dataset[2], workspace=workspace)
    raise _refused(text, "write azureml://datastores/NAME/paths/PATH, the long form of it, or azureml:NAME:VERSION")


def _parse_file(text: str, rest: str) -> LocalPath:
    host, slash, path = rest.partition("/")
    if host.lower() not in {"", "localhost"} or not slash:
        raise _refused(text, "write file:///DIR with three slashes")
    return LocalPath(_decode("/" + path, text))


def _parse_web(text: str, scheme: str, environ: Mapping[str, str]) -> BlobUrl | WebUrl:
    url = _split(text, scheme)
    emulated = is_emulator_host(url.host)
    if not emulated and ".blob." not in url.host:
        return WebUrl(text)
    if emulated:
        first = _decode(url.path.lstrip("/").partition("/")[0], text)
        known = {EMULATOR_ACCOUNT, environ.get("AZURE_STORAGE_ACCOUNT"), account_of(environ)}
        if first not in known or not is_account_name(first, emulated=True):
            return WebUrl(text)
    if url.user is not None:
        raise _refused(text, "a Blob URL has no user name in front of the host")
    return _blob(text, url, scheme, None)


def _parse_wasb(text: str, scheme: str) -> BlobUrl:
    url = _split(text, scheme)
    if not url.user or not (is_emulator_host(url.host) or ".blob." in url.host):
        raise _refused(text, f"write {scheme}://CONTAINER@ACCOUNT.blob.core.windows.net/PATH")
    return _blob(text, url, "https" if scheme == "wasbs" else "http", _decode(url.user, text))


def _blob(text: str, url: _Url, protocol: str, container: str | None) -> BlobUrl:
    """Return the Blob URL whose container is `container`, or the path's first segment if None."""
    path = url.path.lstrip("/")
    account_url = f"{protocol}://{url.netloc}"
    emulated = is_emulator_host(url.host)
    if emulated:
        first, _, path = path.partition("/")
        account = _decode(first, text)
        account_url += f"/{account}"
    else:
        # The read-only second region of an account answers under its own name, with the account's credentials.
        account = url.host.partition(".")[0].removesuffix("-secondary")
    if container is None:
        first, _, path = path.lstrip("/").partition("/")
        container = _decode(first, text)
    if not is_account_name(account, emulated=emulated):
        raise _refused(text, f"{account!r} is not the name of a storage account")
    if not container:
        raise _refused(text, "the container is missing: write …/CONTAINER/PATH")
    if not is_container_name(container):
        raise _refused(text, f"{container!r} is not a container's name ({CONTAINER_RULE})")
    return BlobUrl(
        account_name=account,
        container=container,
        path=store_path(_decode(path, text), text),
        account_url=account_url,
        sas=_sas(text, url),
    )


def _sas(text: str, url: _Url) -> str | None:
    if url.fragment is not None:
        raise _refused(text, "write %23 for a # in a name")
    parameters = [part for part in url.query.split("&") if part]
    names = {part.partition("=")[0].lower() for part in parameters}
    if names & {"snapshot", "versionid"}:
        raise _refused(text, "snapshots and versions of a blob cannot be mounted; leave the parameter out")
    if not url.query.isascii() or not url.query.isprintable() or " " in url.query:
        raise _refused(text, "its SAS holds characters that no SAS has")
    if parameters and "sig" not in names:
        raise _refused(text, "what follows ? is not a SAS, it has no sig=; write %3F for a ? in a name")
    # A copied listing URL carries parameters of the request beside those of the signature.
    kept = [part for part in parameters if part.partition("=")[0].lower() not in {"restype", "comp"}]
    return "&".join(kept) or None


def _parse_abfs(text: str, scheme: str) -> AdlsUrl:
    url = _split(text, scheme)
    if not url.user or url.query or url.fragment is not None:
        raise _refused(text, f"write {scheme}://FILESYSTEM@ACCOUNT.dfs.core.windows.net/PATH")
    filesystem = _decode(url.user, text)
    if not is_container_name(filesystem):
        raise _refused(text, f"{filesystem!r} is not a file system's name ({CONTAINER_RULE})")
    path = store_path(_decode(url.path, text), text)
    return AdlsUrl(filesystem=filesystem, host=url.netloc, path=path, secure=scheme == "abfss")


def _decode(text: str, source: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise _refused(source, "its percent-escapes are not UTF-8") from None
    if "\0" in decoded:
        raise _refused(source, "it holds a NUL character")
    return decoded


def _scope(workspace: WorkspaceId | None) -> str:
    if workspace is None:
        return "azureml://"
    subscription, group, name = (quote(part, safe="") for part in workspace)
    return f"azureml://subscriptions/{subscription}/resourcegroups/{group}/workspaces/{name}/"


def _refused(source: str, why: str) -> UsageError:
    # A web server's token may have any name, so no part of a URL's query is shown.
    url = _HAS_QUERY.match(source)
    shown = redact(url[1] + "?…" if url else source)
    shown = shown.encode("utf-8", "replace").decode("utf-8").replace("\0", "\\0")
    return UsageError(f"{shown}: {why}")
