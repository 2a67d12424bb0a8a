"""The `path` argument of the dataset factories: URLs and places in datastores, one or a list, as SOURCE texts."""

import re
from typing import NamedTuple

from mountd.azureml.data.abstract_datastore import AbstractDatastore
from mountd.azureml.data.data_reference import DataReference
from mountd.azureml.data.datapath import DataPath
from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.azureml.home import Home
from mountd.catalog.dataset import datastore_path

_URL = re.compile(r"(https?|adl|wasbs?|abfss?|azureml|file)://", re.IGNORECASE)
_BLOB_SAS = re.compile(r"https?://[^/]*\.blob\.[^?]*\?", re.IGNORECASE)
_WRONG = (
    "Invalid argument type for `path`. It can be single value or a list of: "
    'string starting with "http://" or "https://", DataPath object, DataReference object, or a tuple of a datastore '
    "and a path."
)
_WRONG_TUPLE = "Invalid tuple for path. Please make sure the tuple consists of a datastore and a path/SQL query"


class Sources(NamedTuple):
    """What a dataset is made of."""

    texts: list[str]
    home: Home | None
    """The workspace of its datastores, if it names any."""


def sources_of(path: object) -> Sources:
    """Return what `path` names.

    Raises:
        UserErrorException: it is none of the documented forms, or its datastores are of several workspaces.
    """
    items = list(path) if isinstance(path, list) else [path]
    if not items:
        raise UserErrorException(_WRONG)
    found = [_source(item) for item in items]
    homes = [home for _, home in found if home is not None]
    if any(home.catalog != homes[0].catalog for home in homes):
        raise UserErrorException("The datastores of a dataset belong to one workspace; these belong to several.")
    return Sources([text for text, _ in found], homes[0] if homes else None)


def _source(item: object) -> tuple[str, Home | None]:
    if isinstance(item, str):
        if not _URL.match(item) or _BLOB_SAS.match(item):
            raise UserErrorException(_WRONG)
        return item, None
    if isinstance(item, tuple):
        if len(item) != 2 or not isinstance(item[0], AbstractDatastore) or not isinstance(item[1], str):
            raise UserErrorException(_WRONG_TUPLE)
        return _in_datastore(item[0], item[1])
    if isinstance(item, DataPath) and item.datastore is not None:
        return _in_datastore(item.datastore, item.path_on_datastore or "")
    if isinstance(item, DataReference):
        return _in_datastore(item.datastore, item.path_on_datastore or "")
    raise UserErrorException(_WRONG)


def _in_datastore(datastore: AbstractDatastore, path: str) -> tuple[str, Home]:
    with as_api_errors():
        return datastore_path(datastore.name, path), datastore.workspace
