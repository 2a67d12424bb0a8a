"""The workspace as datastores and datasets see it: no more than they need, so that it can be built above them."""

from typing import Protocol

from mountd.catalog.workspace import Workspace as Catalog


class Home(Protocol):
    """A workspace that owns datastores, datasets and runs."""

    @property
    def catalog(self) -> Catalog:
        """The files behind it."""

    def set_default_datastore(self, name: str) -> None:
        """Make `name` the default datastore."""
