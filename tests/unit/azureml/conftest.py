"""A workspace that the API finds from the current directory."""

import pytest

from mountd.azureml.core import Workspace
from mountd.catalog.workspace import Workspace as Catalog


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """The current directory, and no workspace of anybody else's in sight."""
    for name in ("MOUNTD_WORKSPACE", "MOUNTD_RUN_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def workspace(nowhere):
    """A workspace in the current directory."""
    Catalog.init(nowhere)
    return Workspace.from_config()
