"""Data assets as azure-ai-ml writes them are registered as they are, and kept in a form that it reads."""

from pathlib import Path

import pytest
import yaml

from mountd.catalog.dataset import define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.dataset_yaml import read_data_asset
from mountd.catalog.workspace import Workspace

DUMPED = sorted((Path(__file__).parents[2] / "data/azure-ai-ml/data").glob("*.yml"))
AZURES_OWN = {"$schema", "name", "version", "description", "type", "path", "tags", "properties"}


@pytest.mark.parametrize("file", DUMPED, ids=lambda file: file.stem)
def test_a_data_asset(tmp_path, file):
    said = yaml.safe_load(file.read_text())
    asset = read_data_asset(file)
    definition = define(asset.all_paths, environ={}, cwd=tmp_path, type=asset.type)
    made, *_ = DatasetRegistry(Workspace.init(tmp_path)).register(
        definition, asset.name, description=asset.description, tags=asset.tags, version=str(asset.version)
    )
    assert (made.name, made.version) == (said["name"], said["version"])
    kept = yaml.safe_load((tmp_path / ".azureml/data" / made.name / f"{made.version}.yml").read_text())
    assert kept.keys() <= AZURES_OWN
    assert kept["path"] == said["path"].rstrip("/")
    assert (kept["type"], kept.get("tags", {}), kept.get("description")) == (
        said["type"],
        said["tags"],
        said.get("description"),
    )


def test_there_is_one_of_every_kind():
    assert [file.stem for file in DUMPED] == ["file", "folder", "long", "mltable", "web"]
