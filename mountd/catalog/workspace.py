"""A workspace: a directory whose `.azureml/` holds the datastores that names in SOURCE refer to.

`workspace_layout` shows what is where. Rules:

- Files are 0600 and directories 0700; every file appears whole or not at all, and so does a new workspace.
- Datastore names are case-insensitive and stored in lower case.
- Nothing here talks to storage: adding a datastore writes a file, removing one deletes that file.

Blocking: for the command line and start-up.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mountd.catalog.atomic_files import DIRECTORY_MODE, file_errors, sync_directory, write_file, write_json
from mountd.catalog.datastore import (
    Datastore,
    check_datastore,
    decode_datastore,
    describe_datastore,
    encode_datastore,
)
from mountd.catalog.naming import DATASTORE_RULE, is_datastore_name
from mountd.catalog.workspace_layout import (
    DEFAULT_DATASTORE,
    NO_SUBSCRIPTION,
    denied,
    file_kind,
    is_closed,
    is_workspace,
    lay_out_workspace,
)
from mountd.config.strict_yaml import load_json, load_yaml, read_text
from mountd.errors import ExistsError, NotFoundError, UsageError

AZURE_KEYS = ("subscription_id", "resource_group", "workspace_name")
OF_THE_NODE = Path("/etc/mountd")
"""Where the workspace lies that is used if there is no other."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace that exists. Reads its files anew at every call."""

    root: Path
    """The directory that holds `.azureml/`; absolute."""

    @property
    def directory(self) -> Path:
        """`.azureml/`."""
        return self.root / ".azureml"

    @property
    def datastores_directory(self) -> Path:
        """Where the datastores' files are; relative paths in them start here."""
        return self.directory / "datastores"

    @classmethod
    def init(cls, directory: Path) -> "Workspace":
        """Make `directory` a workspace with two local datastores and return it; if it is one, change nothing.

        A `config.json` that Azure ML wrote is kept as it is.

        Raises:
            UsageError: it is one, and its `config.json` is malformed.
            MountdError: the file system refused; nothing is left behind.
        """
        directory = Path(os.path.abspath(directory))  # resolve() would replace the user's links
        workspace = cls(directory)
        lay_out_workspace(workspace.root)
        _ = workspace.default_name  # of one that was there before
        return workspace

    @classmethod
    def at(cls, directory: Path, origin: str) -> "Workspace":
        """Return the workspace in `directory`, or the one whose `.azureml/` it is.

        Raises:
            NotFoundError: there is none; `origin` says who named the directory.
            DeniedError: this user may not look whether there is one.
        """
        root = Path(os.path.abspath(directory))  # as in init
        if is_workspace(root):
            return cls(root)
        if root.name == ".azureml" and is_workspace(root.parent):
            return cls(root.parent)
        raise NotFoundError(f"{origin}: {root} holds no workspace; make one with `mountd workspace init {root}`")

    @classmethod
    def discover(cls, explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> "Workspace | None":
        """Return the workspace to use, None if there is none.

        The first of: `explicit`, `$MOUNTD_WORKSPACE`, `cwd` and its parents, the user's (`$XDG_CONFIG_HOME/mountd` or
        `~/.config/mountd`), `/etc/mountd`. One that this user may not read is never passed over for a later one.

        Raises:
            NotFoundError: `explicit` or the variable names a directory without a workspace.
            DeniedError: this user may not read the workspace, or not look whether there is one.
        """
        if explicit is not None:
            return cls.at(cwd / explicit, "--workspace")
        named = environ.get("MOUNTD_WORKSPACE")
        if named:
            return cls.at(cwd / named, "MOUNTD_WORKSPACE")
        candidates = []
        home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
        if home.startswith("/"):
            candidates.append(Path(home) / "mountd")
        candidates.append(OF_THE_NODE)
        # A home that this user may not enter is another's: processes often get root's HOME. It says nothing of them.
        candidates = [cwd, *cwd.parents, *(place for place in candidates if not is_closed(place))]
        return next((cls(candidate) for candidate in candidates if is_workspace(candidate)), None)

    def config(self) -> dict[str, Any]:
        """Return what `config.json` holds; empty if there is no such file.

        Raises:
            UsageError: it is malformed.
        """
        path = self.directory / "config.json"
        return load_json(read_text(path), str(path)) if file_kind(path) else {}

    @property
    def names_azure(self) -> bool:
        """Whether `config.json` names a workspace of Azure's, not one that `init` made up."""
        return self.config().get("subscription_id") not in (None, "", NO_SUBSCRIPTION)

    @property
    def default_name(self) -> str:
        """The default datastore's name.

        Raises:
            UsageError: `config.json` is malformed.
        """
        name = self.config().get("default_datastore", DEFAULT_DATASTORE)
        if not isinstance(name, str) or not is_datastore_name(name):
            raise UsageError(f"{self.directory / 'config.json'}: default_datastore: must be a datastore's name")
        return name.lower()

    def names(self) -> list[str]:
        """Return the names of all datastores, sorted.

        Raises:
            DeniedError: this user may not read their directory.
        """
        directory = self.datastores_directory
        if file_kind(directory) != stat.S_IFDIR:
            return []
        with file_errors(directory):
            try:
                files = [Path(name) for name in os.listdir(directory)]  # glob() finds nothing where it may not look
            except PermissionError:
                raise denied(directory) from None
        return sorted(file.stem for file in files if file.suffix == ".yml" and not file.name.startswith("."))

    def datastores(self) -> list[Datastore]:
        """Return all datastores, sorted by name.

        Raises:
            UsageError: a file is malformed.
        """
        return [self.datastore(name) for name in self.names()]

    def datastore(self, name: str) -> Datastore:
        """Return the datastore `name`.

        Raises:
            NotFoundError: there is none of that name.
            UsageError: its file is malformed.
        """
        path = self._existing(name)
        datastore = decode_datastore(load_yaml(read_text(path), str(path)), str(path))
        if datastore.name != path.stem:
            raise UsageError(f"{path}: name: is {datastore.name!r}, but the file's name says {path.stem!r}")
        return datastore

    def describe(self) -> dict[str, Any]:
        """Return what may be shown of the workspace: place, Azure's own names, datastores."""
        config = self.config()
        named = {key: config[key] for key in AZURE_KEYS if isinstance(config.get(key), str)}
        return {
            "directory": str(self.root),
            **named,
            "default_datastore": self.default_name,
            "datastores": self.names(),
        }

    def describe_datastore(self, name: str) -> dict[str, Any]:
        """Return what may be shown of the datastore `name`: everything but secrets.

        Raises:
            NotFoundError: there is none of that name.
            UsageError: its file is malformed.
        """
        shown = describe_datastore(self.datastore(name), self.datastores_directory)
        return shown | {"default": shown["name"] == self.default_name}

    def add(self, datastore: Datastore, *, overwrite: bool = False) -> Datastore:
        """Store `datastore` and return it as stored.

        Raises:
            ExistsError: the name is taken and `overwrite` is false.
            UsageError: a field holds what no storage account can have.
        """
        datastore = check_datastore(datastore, f"datastore {datastore.name}")
        path = self._file(datastore.name)
        with file_errors(path):
            self.datastores_directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            try:
                write_file(path, encode_datastore(datastore), overwrite=overwrite)
            except FileExistsError:
                raise ExistsError(
                    f"datastore {datastore.name}: exists in {self.root}; replace it with --overwrite or remove it first"
                ) from None
        return datastore

    def remove(self, name: str) -> None:
        """Forget the datastore `name`; what is stored there stays.

        Raises:
            NotFoundError: there is none of that name.
            UsageError: it is the default.
        """
        path = self._existing(name)
        if path.stem == self.default_name:
            raise UsageError(f"datastore {path.stem}: is the default; make another one the default first")
        with file_errors(path):
            path.unlink()
            sync_directory(path.parent)

    def set_default(self, name: str) -> None:
        """Make the datastore `name` the default.

        Raises:
            NotFoundError: there is none of that name.
        """
        path = self._existing(name)
        with file_errors(self.directory / "config.json"):
            config = self.config() | {"default_datastore": path.stem}
            write_json(self.directory / "config.json", config, overwrite=True)

    def _file(self, name: str) -> Path:
        if not is_datastore_name(name):
            raise UsageError(f"datastore {name!r}: is no datastore name: it is {DATASTORE_RULE}")
        return self.datastores_directory / f"{name.lower()}.yml"

    def _existing(self, name: str) -> Path:
        path = self._file(name)
        if file_kind(path) != stat.S_IFREG:
            known = ", ".join(self.names()) or "none"
            raise NotFoundError(f"datastore {name}: there is none of that name in {self.root} (there are: {known})")
        return path
