"""Finds the file that names a workspace, by Azure ML's rules, and reads it.

Looked for, each in the start directory and then in all above it: `.azureml/config.json`, `.azureml/project.json`, the
same two in `aml_config/`, and then beside the directories.
"""

import re
import stat
from pathlib import Path
from typing import NamedTuple

from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.catalog.workspace_layout import file_kind
from mountd.config.strict_yaml import load_json, read_text

_DIRECTORIES = (".azureml", "aml_config", "")
_FILES = ("config.json", "project.json")
_SCOPE = re.compile(
    r"/?subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.MachineLearningServices/workspaces/([^/]+)/?",
    re.IGNORECASE,
)


class Named(NamedTuple):
    """A workspace as a configuration file names it."""

    root: Path
    """The directory that `.azureml/` belongs into."""
    subscription_id: str
    resource_group: str
    workspace_name: str


@as_api_errors()
def find_config(start: Path) -> Path | None:
    """Return the configuration file to use from the directory `start`, None if there is none.

    Raises:
        UserErrorException: this user may not look whether there is one.
    """
    for directory in _DIRECTORIES:
        for file in _FILES:
            for parent in (start, *start.parents):
                candidate = parent / directory / file
                if file_kind(candidate) == stat.S_IFREG:
                    return candidate
    return None


def read_config(file: Path) -> Named:
    """Return the workspace that `file` names, by its three keys or by `Scope`.

    Raises:
        UserErrorException: it is not well-formed, or lacks a key.
    """
    with as_api_errors():
        fields = load_json(read_text(file), str(file))
    root = file.parent.parent if file.parent.name in _DIRECTORIES[:2] else file.parent
    scope = fields.get("Scope") or fields.get("scope")
    match = _SCOPE.fullmatch(scope) if isinstance(scope, str) else None
    if match is not None:
        return Named(root, *match.groups())
    names = [fields.get(key) for key in ("subscription_id", "resource_group", "workspace_name")]
    if not all(isinstance(name, str) and name for name in names):
        raise UserErrorException(
            f"The config file found in: {file} does not seem to contain the required parameters. It needs "
            "subscription_id, resource_group and workspace_name, or Scope."
        )
    return Named(root, *map(str, names))
