"""Names, texts and configurations of data references."""

import re

import pytest

from mountd.azureml.core import Datastore
from mountd.azureml.data.data_reference import DataReference
from mountd.azureml.exceptions import UserErrorException


@pytest.fixture
def datastore(workspace):
    return Datastore.get(workspace, "workspaceblobstore")


@pytest.mark.parametrize("path", [None, "", "/", ".", "./"])
def test_the_root_has_the_datastores_name(datastore, path):
    reference = datastore.path(path)
    assert str(reference) == "$AZUREML_DATAREFERENCE_workspaceblobstore"
    assert reference.to_config().path_on_datastore is None
    assert reference.mode == "mount"


@pytest.mark.parametrize("path", ["./bar", "/bar", "bar/"])
def test_a_path_has_a_random_name_and_stays_as_written(datastore, path):
    reference = datastore.path(path)
    assert re.fullmatch(r"\$AZUREML_DATAREFERENCE_[0-9a-f]{32}", str(reference))
    assert str(datastore.path(path)) != str(reference)
    assert reference.to_config().path_on_datastore == path


def test_the_name_stays_with_every_mode(datastore):
    reference = datastore.path("x")
    for other in (reference.as_mount(), reference.as_download("there"), reference.as_upload("here")):
        assert str(other) == str(reference)
        assert other is not reference
    assert datastore.as_download("there").to_config().path_on_compute == "there"
    assert datastore.as_upload(path_on_compute="./bar.pkl").to_config().mode == "upload"


def test_a_name_of_ones_own(datastore):
    assert str(datastore.path("./bar", "my-ref")) == "$AZUREML_DATAREFERENCE_my-ref"
    assert DataReference(datastore, "name").data_reference_name == "name"


def test_a_path_below_a_path(datastore):
    outer = datastore.path("a")
    inner = outer.path("b")
    assert inner.path_on_datastore == "a/b"
    assert str(inner) != str(outer)


def test_a_mode_that_there_is_not(datastore):
    with pytest.raises(UserErrorException, match=r"Invalid mode link\. Only mount, download, upload are supported"):
        DataReference(datastore, mode="link")
    assert DataReference(datastore, mode="Mount").mode == "mount"
