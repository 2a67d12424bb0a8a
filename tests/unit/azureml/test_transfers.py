"""Upload and download of datastores: what arrives, and the lines that people parse."""

import asyncio  # noqa: TID251 - notebooks run on it
import logging
import re

import pytest

from mountd.azureml.core import Datastore
from mountd.azureml.exceptions import UserErrorException
from tests.support.azurite import ACCOUNT, KEY


@pytest.fixture(params=["local", pytest.param("azurite", marks=pytest.mark.azurite)])
def datastore(request, workspace):
    if request.param == "local":
        return workspace.get_default_datastore()
    container = request.getfixturevalue("azurite_container")
    host = container.account_url.removeprefix("http://").partition("/")[0]
    return Datastore.register_azure_blob_container(
        workspace, "emulated", container.name, ACCOUNT, account_key=KEY, protocol="http", endpoint=host
    )


@pytest.fixture
def data(nowhere):
    for name in ("a.txt", "sub/b.txt", ".hidden"):
        file = nowhere / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (nowhere / "data" / "empty").mkdir()
    return nowhere / "data"


def files_below(directory):
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_upload_and_download(datastore, data, nowhere, capsys):
    reference = datastore.upload(src_dir="./data", target_path="../datasets/x", overwrite=True)
    lines = capsys.readouterr().out.splitlines()
    assert reference.path_on_datastore == "../datasets/x"
    assert lines[0] == "Uploading an estimated of 3 files"
    assert lines[-1] == "Uploaded 3 files"
    for number in (1, 2, 3):
        name = re.fullmatch(r"Uploading (\./data/\S+)", lines[2 * number - 1])[1]
        assert lines[2 * number] == f"Uploaded {name}, {number} files out of an estimated total of 3"

    assert datastore.download(target_path="out", prefix="./datasets", show_progress=True) == 3
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[1] == f"Downloaded {lines[0].removeprefix('Downloading ')}, 1 files out of an estimated total of 3"
    expected = {"a.txt": "a.txt", "sub/b.txt": "sub/b.txt", ".hidden": ".hidden"}
    assert files_below(nowhere / "out" / "datasets" / "x") == expected


def test_what_exists_is_left_alone(datastore, data, nowhere, capsys, caplog):
    datastore.upload("data", "t", show_progress=False)
    assert capsys.readouterr().out == ""
    (data / "new.txt").write_text("new")
    (data / "a.txt").write_text("changed")
    datastore.upload("data", "t")
    out = capsys.readouterr().out
    assert "Target already exists. Skipping upload for t/a.txt\n" in out
    assert "Uploaded data/new.txt, 1 files out of an estimated total of " in out
    assert out.endswith("Uploaded 1 files\n")
    assert datastore.download("out") == 4
    assert (nowhere / "out/t/a.txt").read_text() == "a.txt"
    with caplog.at_level(logging.WARNING):
        assert datastore.download("out") == 0
    assert "Path already exists. Skipping download for out/t/a.txt" in caplog.text


def test_single_files(datastore, data, nowhere, capsys):
    datastore.upload_files(["data/sub/b.txt"], target_path="one")
    datastore.upload_files(["data/a.txt", "data/sub/b.txt"], target_path="two")
    datastore.upload_files([str(data / "sub" / "b.txt")], relative_root=str(nowhere), target_path="/three")
    out = capsys.readouterr().out
    assert "Uploading an estimated of 2 files\n" in out
    assert "Uploaded data/sub/b.txt, 1 files out of an estimated total of 1\nUploaded 1 files\n" in out
    assert datastore.download("out", show_progress=False) == 4
    assert set(files_below(nowhere / "out")) == {"one/b.txt", "two/a.txt", "two/sub/b.txt", "three/data/sub/b.txt"}


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("dataset", {"dataset.txt", "datasets/x/1", "datasets/xy/2"}),
        ("/datasets/x", {"datasets/x/1", "datasets/xy/2"}),
        ("datasets/x/", {"datasets/x/1"}),
        ("dataset.txt", {"dataset.txt"}),
        ("nothing", set()),
    ],
)
def test_a_prefix_is_the_beginning_of_names(datastore, nowhere, prefix, found):
    for name in ("dataset.txt", "datasets/x/1", "datasets/xy/2", "other/3"):
        file = nowhere / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    datastore.upload("data", show_progress=False)
    assert datastore.download("out", prefix, show_progress=False) == len(found)
    assert set(files_below(nowhere / "out")) == found


def test_a_source_that_is_no_directory(workspace, data):
    datastore = workspace.get_default_datastore()
    with pytest.raises(UserErrorException, match="src_path must be a directory"):
        datastore.upload("data/a.txt")
    with pytest.raises(UserErrorException, match="'data/none' does not point to a file"):
        datastore.upload_files(["data/none"])
    with pytest.raises(
        UserErrorException, match=r"relative_root: 'other' is not part of the file_path: 'data/a\.txt'\."
    ):
        datastore.upload_files(["data/a.txt"], relative_root="other")


def test_in_a_notebook(workspace, data):
    """There an asyncio loop runs in the same thread."""

    async def cell():
        datastore = workspace.get_default_datastore()
        datastore.upload("data", show_progress=False)
        return datastore.download("out", show_progress=False)

    assert asyncio.run(cell()) == 3


async def test_below_a_trio_loop(workspace, data):
    datastore = workspace.get_default_datastore()
    datastore.upload("data", show_progress=False)
    assert datastore.download("out", show_progress=False) == 3
