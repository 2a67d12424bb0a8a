"""What mountd writes is read by Azure's own packages, and the files of the tests are what these write."""

import filecmp
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from mountd.catalog.dataset import define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.dataset_yaml import read_data_asset
from mountd.catalog.datastore_input import datastore_from_file
from mountd.catalog.workspace import Workspace
from tests.support.clients import PYTHON

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
WRITTEN = HERE / "data/azure-ai-ml-1.35.2"


def run_client(script, *words):
    done = subprocess.run(
        [PYTHON, "-B", HERE / script, *words], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace in which mountd has registered all that azure-ai-ml can hold."""
    made = Workspace.init(tmp_path_factory.mktemp("workspace") / "digits")
    for name in made.names():
        (made.datastores_directory / f"{name}.yml").rename(made.directory / f"{name}.yml")  # `local` is an extension
    for file in WRITTEN.glob("datastores/*.yml"):
        if file.stem != "one_lake":
            made.add(datastore_from_file(file, name=None, secret=None))
    for file in WRITTEN.glob("data/*.yml"):
        asset = read_data_asset(file)
        definition = define(asset.all_paths, environ={}, cwd=made.root, type=asset.type)
        DatasetRegistry(made).register(
            definition, asset.name, description=asset.description, tags=asset.tags, version=str(asset.version)
        )
    return made


@pytest.fixture(scope="module")
def read_back(workspace):
    """What the packages read in it, by file; one call, since they take seconds to start."""
    files = [
        *workspace.datastores_directory.glob("*.yml"),
        *workspace.directory.glob("data/*/*.yml"),
        workspace.directory / "config.json",
    ]
    return {Path(name): value for name, value in json.loads(run_client("read_back.py", *files)).items()}


def test_datastores(read_back):
    read = {file.stem: value for file, value in read_back.items() if file.parent.name == "datastores"}
    assert read == {
        file.stem: json.loads(file.read_text()) for file in WRITTEN.glob("datastores/*.json") if file.stem != "one_lake"
    }


def test_data_assets(read_back):
    read = {value["name"]: value for file, value in read_back.items() if file.parent.parent.name == "data"}
    expected = {}
    for file in WRITTEN.glob("data/*.json"):
        theirs = json.loads(file.read_text())
        theirs["path"] = theirs["path"].rstrip("/")
        expected[theirs["name"]] = theirs
    for value in [*read.values(), *expected.values()]:
        value.pop("$schema", None)
        value.pop("properties")  # the package leaves out those of a file
    assert read == expected


def test_the_file_that_names_a_workspace(read_back, workspace):
    said = yaml.safe_load((workspace.directory / "config.json").read_text())
    names = [said["subscription_id"], said["resource_group"], said["workspace_name"]]
    assert read_back[workspace.directory / "config.json"] == [*names, *names]
    assert names[2] == "digits"


def test_the_files_of_the_tests_are_what_the_packages_write(tmp_path):
    run_client("write_fixtures.py", tmp_path)
    committed = {str(file.relative_to(HERE / "data")) for file in HERE.glob("data/**/*.*") if file.is_file()}
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.glob("**/*.*") if file.is_file()}
    assert written == committed
    _, *different = filecmp.cmpfiles(HERE / "data", tmp_path, committed, shallow=False)
    assert different == [[], []]
