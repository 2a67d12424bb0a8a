"""Workspaces: directories with datastores, datasets and runs, under Azure ML's name for them."""

import os
from pathlib import Path
from typing import Any

from mountd.azureml.absent import PartlyAbsent, absent
from mountd.azureml.core.config_discovery import Named, find_config, read_config
from mountd.azureml.data.abstract_datastore import AbstractDatastore
from mountd.azureml.data.kinds import datastore_object
from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.azureml.working_directory import current_directory
from mountd.catalog.workspace import Workspace as Catalog
from mountd.errors import NotFoundError

_MAKE_ONE = "Make one with `mountd workspace init`, or set MOUNTD_WORKSPACE."


class Workspace(PartlyAbsent):
    """A workspace; `Workspace.from_config()` finds the one to use."""

    def __init__(
        self,
        subscription_id: str,
        resource_group: str,
        workspace_name: str,
        auth: object = None,
        *,
        _catalog: Catalog | None = None,
        **kwargs: Any,
    ) -> None:
        """Find the workspace of these names from the current directory upwards, unless `_catalog` is it.

        Raises:
            UserErrorException: the one that is found has other names, or there is none.
        """
        del auth, kwargs
        self.subscription_id = subscription_id
        self.resource_group = resource_group
        self.name = workspace_name
        if _catalog is None:
            _catalog, named = _found(None)
            wanted = subscription_id, resource_group, workspace_name
            if tuple(part.lower() for part in named[1:]) != tuple(part.lower() for part in wanted):
                raise UserErrorException(
                    f"The workspace here is {named.workspace_name!r} ({_catalog.root}), not {wanted!r}."
                )
        self._catalog = _catalog

    @staticmethod
    def from_config(
        path: str | None = None, auth: object = None, _logger: object = None, _file_name: str | None = None
    ) -> "Workspace":
        """Return the workspace that a configuration file names.

        Args:
            path: the file, or a directory to look in and above; the current directory if left out. Then
                `$MOUNTD_WORKSPACE` comes first, and the user's and the machine's workspace last.
            auth: not used: a workspace here is files.

        Raises:
            UserErrorException: there is none, its file is malformed, or the current directory has been deleted.
        """
        del auth, _logger, _file_name
        catalog, named = _found(path)
        return Workspace(*named[1:], _catalog=catalog)

    @staticmethod
    def from_directory(root: Path) -> "Workspace":
        """Return the workspace in the directory `root`, as a run's script finds its own (mountd's own name)."""
        with as_api_errors():
            catalog = Catalog.at(root, "the run's workspace")
            return Workspace(*_named(catalog)[1:], _catalog=catalog)

    @property
    def catalog(self) -> Catalog:
        """The files behind it (mountd's own name)."""
        return self._catalog

    @property
    def datastores(self) -> dict[str, AbstractDatastore]:
        """All datastores by name, without their credentials."""
        with as_api_errors():
            return {record.name: datastore_object(self, record) for record in self._catalog.datastores()}

    def get_default_datastore(self) -> AbstractDatastore:
        """Return the default datastore.

        Raises:
            UserErrorException: it is not there.
        """
        with as_api_errors():
            return datastore_object(self, self._catalog.datastore(self._catalog.default_name))

    def set_default_datastore(self, name: str) -> None:
        """Make the datastore `name` the default.

        Raises:
            UserErrorException: there is none of that name.
        """
        with as_api_errors():
            self._catalog.set_default(name)

    def __repr__(self) -> str:
        return (
            f"Workspace.create(name={self.name!r}, subscription_id={self.subscription_id!r}, "
            f"resource_group={self.resource_group!r})"
        )

    __str__ = __repr__


def _found(path: str | None) -> tuple[Catalog, Named]:
    """Return the workspace that `path`, the environment or the current directory leads to."""
    named_by_variable = os.environ.get("MOUNTD_WORKSPACE") if path is None else None
    wanted = named_by_variable or path or ""
    start = Path(os.path.normpath(wanted if os.path.isabs(wanted) else current_directory() / wanted))
    if named_by_variable:
        with as_api_errors():
            there = Catalog.at(start, "MOUNTD_WORKSPACE")
        return there, _named(there)
    file = start if start.is_file() else find_config(start)
    if file is not None:
        named = read_config(file)
        return Catalog(named.root), named
    with as_api_errors():
        catalog = Catalog.discover(None, os.environ, start) if path is None else _at_or_none(start)
    if catalog is None:
        raise UserErrorException(
            f"The workspace configuration file config.json, could not be found in {start} or its parent directories. "
            + _MAKE_ONE
        )
    return catalog, _named(catalog)


def _at_or_none(directory: Path) -> Catalog | None:
    try:
        return Catalog.at(directory, "path")
    except NotFoundError:
        return None


def _named(catalog: Catalog) -> Named:
    file = catalog.directory / "config.json"
    if file.is_file():
        return read_config(file)
    return Named(catalog.root, "", "", catalog.root.name or "workspace")  # its datastores alone make it one


__getattr__ = absent(__name__)
