"""How a workspace is found, and its datastores."""

import json

import pytest

from mountd.azureml.core import Dataset, Datastore, Workspace
from mountd.azureml.exceptions import UserErrorException
from mountd.catalog.workspace import Workspace as Catalog

NAMES = {"subscription_id": "S", "resource_group": "R", "workspace_name": "W"}
SCOPE = "/subscriptions/S/resourceGroups/R/providers/Microsoft.MachineLearningServices/workspaces/W"


def test_it_is_found_from_below(workspace, nowhere, monkeypatch):
    below = nowhere / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Workspace.from_config().catalog.root == nowhere


@pytest.mark.parametrize(
    "place", [".azureml/config.json", ".azureml/project.json", "aml_config/config.json", "config.json"]
)
@pytest.mark.parametrize("fields", [NAMES, {"Id": None, "Scope": SCOPE}], ids=["keys", "scope"])
def test_every_place_and_form_of_the_file(nowhere, place, fields):
    file = nowhere / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(fields))
    found = Workspace.from_config()
    assert (found.subscription_id, found.resource_group, found.name) == ("S", "R", "W")
    assert found.catalog.root == nowhere
    assert str(found) == "Workspace.create(name='W', subscription_id='S', resource_group='R')"


def test_azureml_directories_above_come_before_a_bare_file_here(nowhere, monkeypatch):
    Catalog.init(nowhere)
    below = nowhere / "model"
    below.mkdir()
    (below / "config.json").write_text('{"architectures": ["Bert"]}')
    monkeypatch.chdir(below)
    assert Workspace.from_config().catalog.root == nowhere


def test_the_variable_comes_first(nowhere, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Catalog.init(elsewhere)
    Catalog.init(nowhere)
    monkeypatch.setenv("MOUNTD_WORKSPACE", str(elsewhere))
    assert Workspace.from_config().catalog.root == elsewhere
    assert Workspace.from_config(str(nowhere)).catalog.root == nowhere


def test_there_is_none(nowhere, tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone")
    said = rf"The workspace configuration file config\.json, could not be found in {alone} or its parent directories\."
    with pytest.raises(UserErrorException, match=said):
        Workspace.from_config(str(alone))


def test_a_current_directory_that_is_gone(nowhere, tmp_path_factory, monkeypatch):
    Catalog.init(nowhere)
    gone = tmp_path_factory.mktemp("gone")
    monkeypatch.chdir(gone)
    gone.rmdir()
    for path in (None, "elsewhere"):
        with pytest.raises(UserErrorException) as refused:
            Workspace.from_config(path)
        assert refused.value.message == "The current directory has been deleted; change to one that exists."
    found = Workspace.from_config(str(nowhere))
    with pytest.raises(UserErrorException, match="directory has been deleted"):
        Dataset.File.from_files((found.get_default_datastore(), "x"))
    monkeypatch.setenv("MOUNTD_WORKSPACE", str(nowhere))
    assert Workspace.from_config().catalog.root == nowhere


def test_a_file_that_names_nothing(nowhere):
    (nowhere / "config.json").write_text('{"workspace_name": "W"}')
    with pytest.raises(UserErrorException, match="does not seem to contain the required parameters"):
        Workspace.from_config()


def test_the_constructor_wants_the_workspace_that_is_here(workspace):
    same = Workspace(workspace.subscription_id, workspace.resource_group, workspace.name)
    assert same.catalog == workspace.catalog
    with pytest.raises(UserErrorException, match="not \\('S', 'R', 'W'\\)"):
        Workspace(**NAMES)


def test_datastores(workspace):
    assert {name: ds.datastore_type for name, ds in workspace.datastores.items()} == {
        "workspaceblobstore": "Local",
        "workspacefilestore": "Local",
    }
    assert workspace.get_default_datastore().name == "workspaceblobstore"
    workspace.set_default_datastore("WorkspaceFileStore")
    assert Datastore(workspace).name == Datastore.get_default(workspace).name == "workspacefilestore"
    Datastore.get(workspace, "workspaceblobstore").set_as_default()
    assert workspace.get_default_datastore().name == "workspaceblobstore"
    Datastore(workspace, "workspacefilestore").unregister()
    assert list(workspace.datastores) == ["workspaceblobstore"]
    with pytest.raises(UserErrorException, match="default"):
        workspace.get_default_datastore().unregister()


def test_an_unknown_datastore(workspace):
    with pytest.raises(UserErrorException) as caught:
        Datastore.get(workspace, datastore_name="other")
    assert caught.value.message.startswith("datastore other: there is none of that name")
    assert str(caught.value).startswith("UserErrorException:\n\tMessage: datastore other: there is none")
    assert json.loads(str(caught.value).partition("ErrorResponse \n")[2])["error"]["code"] == "UserError"


def test_what_it_does_not_have(workspace):
    assert not hasattr(workspace, "compute_targets")
    with pytest.raises(AttributeError, match=r"Workspace\.compute_targets is not part of mountd"):
        _ = workspace.compute_targets
