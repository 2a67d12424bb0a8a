"""DataReferences of Azure ML's first SDK."""

import pytest

from mountd.errors import UsageError
from mountd.run.environment import Mode
from mountd.run.job import leaves_run
from mountd.run.references import reference_input, reference_output

URI = "azureml://datastores/ds/paths/"


@pytest.mark.parametrize("path", ["foo", "./foo", "/foo", "foo/", "././foo//"])
def test_every_spelling_of_a_path_is_one_place(path):
    item = reference_input("r", datastore="ds", path=path, mode=Mode.DOWNLOAD)
    assert (item.source, item.path_on_compute, item.gives_way) == (f"{URI}foo", "ds/foo", True)
    assert item.includes_name
    assert not reference_input("r", datastore="ds", path=path, mode=Mode.DOWNLOAD, path_on_compute="x").includes_name


@pytest.mark.parametrize("path", [None, "", "/", ".", "./"])
def test_the_root(path):
    assert reference_input("r", datastore="ds", path=path, mode=Mode.DOWNLOAD).source == URI


@pytest.mark.parametrize(
    ("given", "expected"), [(None, None), ("in", "ds/in"), ("./in", "ds/in"), ("../in", "in"), ("/tmp/in", "/tmp/in")]
)
def test_where_a_mount_lies(given, expected):
    item = reference_input("r", datastore="ds", path="p q", mode=Mode.MOUNT, path_on_compute=given)
    assert (item.source, item.path_on_compute) == (f"{URI}p%20q", expected)


def test_an_upload_is_looked_for_where_scripts_write_it():
    item = reference_output("r", datastore="ds", path=None, path_on_compute="./bar.pkl")
    assert (item.path_on_compute, item.otherwise, item.target) == ("ds/bar.pkl", "./bar.pkl", URI)
    assert reference_output("r", datastore="ds", path="a", path_on_compute="/x/y").otherwise is None
    assert reference_output("r", datastore="ds", path="a", path_on_compute="../../x").otherwise is None


@pytest.mark.parametrize("path", ["/tmp/x", "/../x", "x/../../y", "..", "../x", "../x/..", "..a/..b", "."])
def test_places_on_the_compute_that_are_the_runs_or_absolute(path):
    assert not leaves_run(path)


@pytest.mark.parametrize("path", ["../..", "../../x", ".././../x", "x/../../../y", "../x/../../y", "../../../x"])
def test_places_on_the_compute_that_are_other_runs_or_above(path):
    assert leaves_run(path)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="misses the relative path on the compute"):
        reference_output("r", datastore="ds", path=None)
    with pytest.raises(UsageError, match="leads out of the datastore"):
        reference_input("r", datastore="ds", path="../x", mode=Mode.MOUNT)
