"""What every datastore object has: a name, a kind, and its place in a workspace. Holds no credential."""

import json

from mountd.azureml.absent import PartlyAbsent, absent
from mountd.azureml.errors import as_api_errors
from mountd.azureml.home import Home
from mountd.catalog.datastore import Datastore as Record


class AbstractDatastore(PartlyAbsent):
    """A registered datastore, as it was when it was looked up."""

    datastore_type = ""
    """The kind, in Azure ML's word."""
    _shown: tuple[tuple[str, str], ...] = (("name", "name"),)
    """What `str` shows: key, and the record's field."""

    def __init__(self, workspace: Home, record: Record) -> None:
        self._workspace = workspace
        self._record = record

    @property
    def name(self) -> str:
        """The datastore's name, lower case."""
        return self._record.name

    @property
    def workspace(self) -> Home:
        """The workspace that it is registered in."""
        return self._workspace

    def set_as_default(self) -> None:
        """Make this the workspace's default datastore."""
        self._workspace.set_default_datastore(self.name)

    def unregister(self) -> None:
        """Forget the datastore; what is stored there stays.

        Raises:
            UserErrorException: it is the default one, or already gone.
        """
        with as_api_errors():
            self._workspace.catalog.remove(self.name)

    def __repr__(self) -> str:
        shown = {key: getattr(self._record, field, None) for key, field in self._shown}
        return json.dumps(shown, indent=2)

    __str__ = __repr__


__getattr__ = absent(__name__)
