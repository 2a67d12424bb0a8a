"""What file and tabular datasets have in common: a definition, and a registration once there is one.

What a dataset stands for never changes: methods that narrow it down return new ones. Where a definition is kept, its
files are those that were there when it was first used. Description and tags are those of the registration when it was
last read or changed through this object; changing them starts from what the workspace has then.
"""

import json
import logging
import os
import random
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Self
from urllib.parse import unquote

from msgspec.structs import replace

from mountd.azureml import blocking
from mountd.azureml.absent import PartlyAbsent, absent
from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.azureml.home import Home
from mountd.azureml.working_directory import current_directory
from mountd.catalog.dataset import DatasetDefinition
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.dataset_yaml import RegisteredDataset
from mountd.catalog.model import Location
from mountd.catalog.resolve import dataset_location
from mountd.observe.redaction import redact

_IN_DATASTORE = "azureml://datastores/"
_log = logging.getLogger(__name__)


class AbstractDataset(PartlyAbsent):
    """A dataset, registered or not."""

    def __init__(
        self, definition: DatasetDefinition, home: Home | None = None, registered: RegisteredDataset | None = None
    ) -> None:
        """`home` is the workspace of its datastores; a dataset of web files alone has none before it is registered."""
        self._definition = definition
        self._home = home
        self._registered = registered

    @property
    def definition(self) -> DatasetDefinition:
        """Where its files are (mountd's own name)."""
        return self._definition

    @property
    def id(self) -> str | None:
        """The identifier in the workspace; None before the dataset is registered or used in a run."""
        return None if self._registered is None else self._registered.id

    @property
    def name(self) -> str | None:
        """The name that it is registered under, if it is."""
        return None if self._registered is None else self._registered.name

    @property
    def version(self) -> int | None:
        """The version that it is registered as, if it is; a version that is no number is a text."""
        version = None if self._registered is None else self._registered.version
        return int(version) if version is not None and version.isdecimal() else version  # type: ignore[return-value]

    @property
    def description(self) -> str | None:
        """For people."""
        return None if self._registered is None else self._registered.description

    @property
    def tags(self) -> dict[str, str]:
        """For people."""
        return {} if self._registered is None else {key: str(value) for key, value in self._registered.tags.items()}

    @property
    def data_changed_time(self) -> datetime | None:
        """When the dataset was registered: what it stands for has not changed since."""
        return None if self._registered is None else self._registered.created

    def register(
        self,
        workspace: Home,
        name: str,
        description: str | None = None,
        tags: dict[str, str] | None = None,
        create_new_version: bool = False,
    ) -> Self:
        """Register it and return the registered dataset; an identical one that is there already is returned itself.

        That one gets the description, and the tags beside its own. With `create_new_version` the files are listed if
        it has been used before: where they were changed since, it is no longer identical.

        Raises:
            UserErrorException: the name is taken and `create_new_version` is false, or is no name.
            AzureMLException: the files cannot be listed.
        """
        self._check_home(workspace)
        registry = DatasetRegistry(workspace.catalog)
        with as_api_errors():
            same = registry.identical(self._definition, name) if create_new_version else None
            made = registry.register(
                self._definition,
                name,
                description=description,
                tags=tags,
                new_version=create_new_version,
                even_if_identical=same is not None and _is_outdated(same, workspace),
            )
        if not made.made:
            _log.warning(
                "An identical dataset had already been registered, which can be retrieved with "
                '`Dataset.get_by_name(workspace, name="%s", version=%s)`.',
                name,
                made.dataset.version,
            )
        return type(self)(self._definition, workspace, made.dataset)

    def update(self, description: str | None = None, tags: dict[str, str] | None = None) -> Self:
        """Replace the description or the tags, whichever is given, here and in the workspace; return the dataset.

        Raises:
            UserErrorException: it is not registered, or not any more.
        """

        def change(found: RegisteredDataset) -> RegisteredDataset:
            said = found.description if description is None else description
            return replace(found, description=said, tags=found.tags if tags is None else dict(tags))

        return self._updated(change)

    def add_tags(self, tags: dict[str, str] | None = None) -> Self:
        """Add tags to those that the workspace has, here and there; return the dataset.

        Raises:
            UserErrorException: as in `update`, or a tag has another value there.
        """
        added = tags or {}

        def change(found: RegisteredDataset) -> RegisteredDataset:
            others = [key for key in added if key in found.tags and str(found.tags[key]) != str(added[key])]
            if others:
                raise UserErrorException(
                    f"Dataset already contains different values for tags with the following keys {others}; remove_tags "
                    "removes them, update replaces all tags."
                )
            return replace(found, tags={**found.tags, **added})

        return self._updated(change)

    def remove_tags(self, tags: list[str] | None = None) -> Self:
        """Remove the tags of these names, those that are not there included; otherwise as `update`."""
        removed = frozenset(tags or [])
        return self._updated(
            lambda found: replace(found, tags={key: tag for key, tag in found.tags.items() if key not in removed})
        )

    def unregister_all_versions(self) -> None:
        """Forget all versions of its name; the files stay where they are.

        Raises:
            UserErrorException: it is not registered.
        """
        registered, home = self._registration()
        with as_api_errors():
            DatasetRegistry(home.catalog).remove(str(registered.name))

    def saved_in(self, workspace: Home) -> Self:
        """Return it with an id that `workspace` knows, kept there if it is not yet (mountd's own name).

        What was kept before is listed: where its files were changed since, it gets an id of its own.

        Raises:
            UserErrorException: its datastores are another workspace's.
            AzureMLException: the files cannot be listed.
        """
        self._check_home(workspace)
        if self._registered is not None and self._home is not None and self._home.catalog == workspace.catalog:
            return self
        with as_api_errors():
            registry = DatasetRegistry(workspace.catalog)
            kept = registry.save(self._definition)
            if _is_outdated(kept, workspace):
                kept = registry.save(self._definition, even_if_identical=True)
            return type(self)(self._definition, workspace, kept)

    def location(self) -> Location:
        """Return its files as a place for mounting and downloading (mountd's own name).

        Raises:
            UserErrorException: a datastore of it is gone, or of a kind that cannot be read.
        """
        catalog = None if self._home is None else self._home.catalog
        with as_api_errors():
            return dataset_location(
                self._registered or self._definition, workspace=catalog, environ=os.environ, cwd=current_directory()
            )

    def _narrowed(self, definition: DatasetDefinition) -> Self:
        return type(self)(definition, self._home)

    def _check_home(self, workspace: Home) -> None:
        if self._home is not None and self._home.catalog != workspace.catalog and self._in_datastores():
            raise UserErrorException(f"The dataset's datastores belong to {self._home}, not to {workspace}.")

    def _in_datastores(self) -> bool:
        return any(path.startswith(_IN_DATASTORE) for path in self._definition.paths)

    def _registration(self) -> tuple[RegisteredDataset, Home]:
        if self._registered is None or self._registered.name is None or self._home is None:
            raise UserErrorException("The dataset is not registered under a name; call register() first.")
        return self._registered, self._home

    def _updated(self, change: Callable[[RegisteredDataset], RegisteredDataset]) -> Self:
        registered, home = self._registration()
        with as_api_errors():
            self._registered = DatasetRegistry(home.catalog).update(registered, change)
        return type(self)(self._definition, home, self._registered)

    def _steps_shown(self) -> list[str]:
        return ["GetDatastoreFiles" if self._in_datastores() else "GetFiles"]

    def __repr__(self) -> str:
        shown: dict[str, Any] = {
            "source": [_shown_path(path) for path in self._definition.paths],
            "definition": self._steps_shown(),
        }
        if self._registered is not None:
            registration = {"id": self.id, "name": self.name, "version": self.version}
            if self.description:
                registration["description"] = self.description
            if self.tags:
                registration["tags"] = self.tags  # type: ignore[assignment] # JSON takes it
            shown["registration"] = {**registration, "workspace": str(self._home)}
        return f"{type(self).__name__}\n{json.dumps(shown, indent=2)}"

    __str__ = __repr__


def _is_outdated(registered: RegisteredDataset, workspace: Home) -> bool:
    if not registered.listing.exists():
        return False
    from mountd.modes.datasets import is_outdated  # noqa: PLC0415 - storage libraries: half a second

    catalog = workspace.catalog
    return blocking.run(partial(is_outdated, registered, workspace=catalog, environ=os.environ, cwd=catalog.root))


def seed_or_random(seed: int | None) -> int:
    """Return `seed`, or one that is drawn now and kept with the dataset: it gives the same files at every use."""
    return random.randrange(1 << 31) if seed is None else int(seed)  # noqa: S311 - no secret


def _shown_path(path: str) -> str:
    if not path.startswith(_IN_DATASTORE):
        return redact(path.partition("?")[0])  # web servers have tokens under any name
    datastore, _, below = path.removeprefix(_IN_DATASTORE).partition("/paths/")
    return f"('{datastore}', '{unquote(below)}')"


__getattr__ = absent(__name__)
