"""Datasets: what they are made of, how they read, and how they are kept."""

import json
import logging
import os

import pytest

from mountd.azureml.core import Dataset
from mountd.azureml.data.data_reference import DataReference
from mountd.azureml.data.datapath import DataPath
from mountd.azureml.exceptions import UserErrorException
from mountd.errors import MountdError


@pytest.fixture
def datastore(workspace, nowhere):
    storage = nowhere / ".azureml" / "storage" / "workspaceblobstore"
    for name in ("d/a.txt", "d/sub/b.jpg", "d/sub/c.jpg", "e/x.txt"):
        (storage / name).parent.mkdir(parents=True, exist_ok=True)
        (storage / name).write_text(name)
    return workspace.get_default_datastore()


@pytest.fixture
def dataset(datastore):
    return Dataset.File.from_files((datastore, "d"))


@pytest.mark.parametrize("form", ["tuple", "path", "reference", "list"])
def test_every_form_of_a_place(datastore, form):
    path = {
        "tuple": (datastore, "d"),
        "path": DataPath(datastore, "d"),
        "reference": datastore.path("./d"),
        "list": [(datastore, "d")],
    }[form]
    assert isinstance(datastore.path("x"), DataReference)
    assert Dataset.File.from_files(path).to_path() == ["/a.txt", "/sub/b.jpg", "/sub/c.jpg"]


def test_patterns(datastore):
    assert Dataset.File.from_files((datastore, "d/**/*.jpg")).to_path() == ["/sub/b.jpg", "/sub/c.jpg"]
    assert Dataset.File.from_files((datastore, "d/sub/b*")).to_path() == ["/b.jpg"]


@pytest.mark.parametrize(
    "path",
    [None, [], 7, "relative/path", [None], "https://acct.blob.core.windows.net/c/p?sig=x", {"a": 1}],
)
def test_what_is_no_path(path):
    with pytest.raises(UserErrorException, match="Invalid argument type for `path`"):
        Dataset.File.from_files(path)


@pytest.mark.parametrize("path", [("store", "d"), (None,), (1, 2, 3)])
def test_what_is_no_tuple(path):
    with pytest.raises(UserErrorException, match="Invalid tuple for path"):
        Dataset.File.from_files(path)


def test_it_reads_as_in_azure_ml(dataset, workspace):
    text = str(dataset)
    assert text.startswith('FileDataset\n{\n  "source": [\n')
    assert json.loads(text.partition("\n")[2]) == {
        "source": ["('workspaceblobstore', 'd')"],
        "definition": ["GetDatastoreFiles"],
    }
    registered = dataset.register(workspace, "letters", description="d", tags={"k": "v"})
    shown = json.loads(str(registered).partition("\n")[2])["registration"]
    assert shown == {
        "id": registered.id,
        "name": "letters",
        "version": 1,
        "description": "d",
        "tags": {"k": "v"},
        "workspace": str(workspace),
    }
    assert json.loads(str(Dataset.File.from_files("https://u:secret@host/a.csv?token=x")).partition("\n")[2]) == {
        "source": ["https://***@host/a.csv"],
        "definition": ["GetFiles"],
    }


def test_names_and_versions(dataset, datastore, workspace, caplog):
    first = dataset.register(workspace, "letters")
    with caplog.at_level(logging.WARNING):
        again = dataset.register(workspace, "letters")
    assert again.id == first.id
    assert "An identical dataset had already been registered" in caplog.text
    other = Dataset.File.from_files((datastore, "e"))
    with pytest.raises(UserErrorException) as taken:
        other.register(workspace, "letters")
    assert taken.value.message == (
        'There is already a dataset registered under name "letters". Specify `create_new_version=True` to register '
        "the dataset as a new version."
    )
    second = other.register(workspace, "letters", create_new_version=True)
    assert (first.version, second.version) == (1, 2)
    assert Dataset.get_by_name(workspace, "letters").id == second.id
    assert Dataset.get_by_name(workspace, name="letters", version=1).to_path() == dataset.to_path()
    assert Dataset.get_by_id(workspace, id=first.id).version == 1
    assert {name: found.version for name, found in Dataset.get_all(workspace).items()} == {"letters": 2}
    assert second.data_changed_time is not None
    second.unregister_all_versions()
    with pytest.raises(UserErrorException) as missing:
        Dataset.get_by_name(workspace, "letters")
    assert missing.value.message == 'Cannot find dataset registered with name "letters" in the workspace.'
    with pytest.raises(UserErrorException) as missing:
        Dataset.get_by_id(workspace, first.id)
    assert missing.value.message == f'Cannot find dataset with id "{first.id}" in the workspace.'


def test_tags_and_description_are_the_workspaces(dataset, workspace):
    one = dataset.register(workspace, "letters", description="d", tags={"k": "v"})
    other = Dataset.get_by_name(workspace, "letters")
    assert one.add_tags({"a": "1"}).tags == one.tags == {"k": "v", "a": "1"}
    assert other.tags == {"k": "v"}
    other.update(description="new")
    assert (other.description, other.tags) == ("new", one.tags)
    one.remove_tags(["a", "absent"])
    other.add_tags({"b": "2", "k": "v"})
    one.update(description="")
    now = Dataset.get_by_name(workspace, "letters")
    assert (now.description, now.tags) == (one.description, one.tags) == ("", {"k": "v", "b": "2"})
    with pytest.raises(UserErrorException, match=r"different values for tags with the following keys \['b'\]"):
        one.add_tags({"b": "3", "c": "4"})
    assert other.update(tags={}).tags == {}
    other.unregister_all_versions()
    with pytest.raises(UserErrorException, match="Cannot find dataset"):
        one.add_tags({"d": "5"})


def test_registered_again(dataset, workspace):
    first = dataset.register(workspace, "letters", description="d", tags={"a": "b"})
    again = dataset.register(workspace, "letters", tags={"c": "d"}, create_new_version=True)
    assert (again.version, again.description, again.tags) == (1, "d", {"a": "b", "c": "d"})
    shown = first.to_path()
    assert dataset.register(workspace, "letters", create_new_version=True).version == 1
    storage = workspace.catalog.directory / "storage" / "workspaceblobstore"
    (storage / "d" / "new").write_text("new")
    second = dataset.register(workspace, "letters", create_new_version=True)
    assert (second.version, second.to_path()) == (2, sorted([*shown, "/new"]))
    assert Dataset.get_by_name(workspace, "letters", version=1).to_path() == shown


def test_a_version_that_is_not_there(dataset, workspace):
    dataset.register(workspace, "letters")
    with pytest.raises(UserErrorException, match=r'with name "letters" \(version: 7\) in the workspace\.\n'):
        Dataset.get_by_name(workspace, "letters", version=7)
    with pytest.raises(UserErrorException, match="not registered under a name"):
        dataset.add_tags({})


def test_an_id_without_a_name(dataset, workspace):
    saved = dataset.saved_in(workspace)
    assert (dataset.id, saved.name) == (None, None)
    assert Dataset.get_by_id(workspace, saved.id).to_path() == dataset.to_path()
    assert dataset.saved_in(workspace).id == saved.id
    storage = workspace.catalog.directory / "storage" / "workspaceblobstore"
    for name in ("new", "newer"):
        before = saved.to_path()
        (storage / "d" / name).write_text("new")
        later = dataset.saved_in(workspace)
        assert dataset.saved_in(workspace).id == later.id != saved.id
        assert Dataset.get_by_id(workspace, later.id).to_path() == sorted([*before, f"/{name}"])
        assert saved.to_path() == before
        saved = later


def test_download(dataset, nowhere, monkeypatch):
    found = dataset.download("out")
    assert found == [str(nowhere / "out" / name) for name in ("a.txt", "sub/b.jpg", "sub/c.jpg")]
    with pytest.raises(
        UserErrorException, match=r'^UserErrorException:\n\tMessage: File "\S+/out/a\.txt" already exists'
    ):
        dataset.download("out")
    assert dataset.download("out", overwrite=True) == found
    elsewhere = dataset.take(1).download()
    assert [os.path.basename(path) for path in elsewhere] == ["a.txt"]


def test_what_is_gone_may_be_left_out(dataset, workspace, nowhere):
    kept = dataset.register(workspace, "letters")
    assert len(kept.to_path()) == 3
    (nowhere / ".azureml" / "storage" / "workspaceblobstore" / "d" / "a.txt").unlink()
    with pytest.raises(MountdError, match=r"a\.txt"):
        kept.download("out")
    found = kept.download("out", overwrite=True, ignore_not_found=True)
    assert [os.path.basename(path) for path in found] == ["b.jpg", "c.jpg"]
    (nowhere / ".azureml" / "storage" / "workspaceblobstore" / "d" / "sub" / "b.jpg").write_text("changed")
    with pytest.raises(MountdError, match=r"b\.jpg"):
        kept.download("other", ignore_not_found=True)


def test_parts(dataset):
    everything = dataset.to_path()
    assert dataset.take(1).to_path() == everything[:1]
    assert dataset.skip(1).to_path() == everything[1:]
    some, rest = dataset.random_split(0.5, seed=3)
    assert sorted(some.to_path() + rest.to_path()) == everything
    assert dataset.take_sample(1.0).to_path() == everything
    for wrong in (lambda: dataset.take(-1), lambda: dataset.random_split(2), lambda: dataset.take_sample(-1)):
        with pytest.raises(UserErrorException, match=r"not -?[12]"):
            wrong()


def test_conditions(dataset):
    extension, size = dataset.file_metadata("Extension"), dataset.file_metadata("Size")
    assert dataset.filter(extension == ".jpg").to_path() == ["/sub/b.jpg", "/sub/c.jpg"]
    assert dataset.filter(~(extension == ".jpg") & (size > 1)).to_path() == ["/a.txt"]
    assert dataset.filter((size < 1) | (extension != ".txt")).to_path() == ["/sub/b.jpg", "/sub/c.jpg"]
    with pytest.raises(UserErrorException, match="no property 'Colour'"):
        dataset.file_metadata("Colour")
    with pytest.raises(UserErrorException, match="takes a comparison"):
        dataset.filter("Size > 1")
    with pytest.raises(UserErrorException, match="combine conditions with &"):
        dataset.filter(size > 1 and size < 3)


def test_upload_directory(datastore, nowhere, capsys):
    (nowhere / "data").mkdir()
    (nowhere / "data" / "n.txt").write_text("new")
    made = Dataset.File.upload_directory("data", (datastore, "up"))
    assert made.to_path() == ["/n.txt"]
    assert capsys.readouterr().out.endswith("Uploaded 1 files\n")


def test_what_is_not_part_of_it(dataset, datastore):
    with pytest.raises(AttributeError, match=r"FileDataset\.as_hdfs is not part of mountd"):
        dataset.as_hdfs()
    with pytest.raises(UserErrorException, match="partition_format is not part of mountd"):
        Dataset.File.from_files((datastore, "d"), partition_format="/{x}")
    with pytest.raises(UserErrorException, match="set_column_types is not part of mountd"):
        Dataset.Tabular.from_delimited_files((datastore, "d"), set_column_types={"a": 1})


def test_a_table_of_two_files_keeps_its_rows(datastore, nowhere, workspace):
    storage = nowhere / ".azureml" / "storage" / "workspaceblobstore" / "t"
    storage.mkdir()
    (storage / "1.csv").write_text("a,b\n1,\n2,x\n")
    (storage / "2.csv").write_text("a,b\n3,y\n")
    table = Dataset.Tabular.from_delimited_files((datastore, "t/*.csv"))
    assert table.to_pandas_dataframe()["a"].tolist() == [1, 2, 3]
    kept = table.skip(1).take(1).register(workspace, "rows")
    found = Dataset.get_by_name(workspace, "rows")
    assert found.to_pandas_dataframe().to_dict("list") == {"a": [2], "b": ["x"]}
    assert type(found) is type(kept)
    some, rest = table.random_split(0.5, seed=1)
    assert sorted([*some.to_pandas_dataframe()["a"], *rest.to_pandas_dataframe()["a"]]) == [1, 2, 3]
    with pytest.raises(UserErrorException, match="'maybe'"):
        table.to_pandas_dataframe(on_error="maybe")


def test_without_pandas(datastore, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    monkeypatch.delitem(__import__("sys").modules, "mountd.azureml.data.tables", raising=False)
    monkeypatch.delattr("mountd.azureml.data.tables", raising=False)
    table = Dataset.Tabular.from_delimited_files((datastore, "d"))
    with pytest.raises(UserErrorException, match=r"need pandas .* `pip install mountd\[tabular\]`"):
        table.to_pandas_dataframe()
