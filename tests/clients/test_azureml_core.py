"""What azureml-core writes is read, and what it shows is shown alike (`write_fixtures.py` has made the files)."""

import json
import shutil
from pathlib import Path

import pytest

from mountd.azureml.core import Datastore, Workspace
from mountd.azureml.data.data_reference import DataReference
from mountd.catalog.workspace import Workspace as Catalog
from mountd.errors import UsageError
from mountd.run.environment import Mode
from mountd.run.job import JobInput, JobOutput, JobSpec, ScriptCommand, ShellCommand
from mountd.run.job_file import read_job_file

WRITTEN = Path(__file__).parent / "data/azureml-core-1.61.0.post4"
STORE = "azureml://datastores/workspaceblobstore/paths"
KEY = "aHVudGVyMg=="
# `save()` adds no suffix to the name that it is given; the service takes the same fields as JSON.
AS_SAVED = pytest.mark.parametrize(
    ("suffix", "name"), [(".runconfig", "train"), (".runconfig", "train.runconfig"), (".json", "train.runconfig")]
)


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a run configuration from a project's `.azureml`."""
    (tmp_path / "project/.azureml").mkdir(parents=True)

    def job(written, name):
        return read_job_file(
            Path(shutil.copyfile(WRITTEN / "runconfig" / written, tmp_path / "project/.azureml" / name))
        )

    return job


@AS_SAVED
def test_a_script_with_everything(read, tmp_path, suffix, name):
    job = read(f"script{suffix}", name)
    assert isinstance(job.command, ScriptCommand)
    by_name = {item.name: item for item in job.inputs}
    assert by_name == {
        item.name: item
        for item in (
            JobInput(
                name="bar_in",
                source=f"{STORE}/bar",
                mode=Mode.DOWNLOAD,
                path_on_compute="workspaceblobstore/data/bar",
            ),
            JobInput(name="workspaceblobstore", source=f"{STORE}/", gives_way=True),
            JobInput(name="cifar_in", source="azureml:cifar:1", path_on_compute="/tmp/dataset"),
            JobInput(name="by_id", source="azureml:11111111-2222-3333-4444-555555555555", mode=Mode.DIRECT, as_id=True),
            JobInput(name="by_path", source="azureml://datastores/ds/paths/a%20b/c", mode=Mode.DOWNLOAD),
            JobInput(name="by_uri", source="/data/digits"),
        )
    }
    assert job == JobSpec(
        experiment="project",
        command=ScriptCommand(
            script="train.py",
            arguments=(
                "--data_dir",
                "$AZUREML_DATAREFERENCE_bar_in",
                "--lr",
                "0.1",
                "--data_path",
                "DatasetConsumptionConfig:cifar_in",
            ),
            interpreter=job.command.interpreter,
        ),
        base=str(tmp_path / "project"),
        code=str(tmp_path / "project"),
        code_datastore="workspaceblobstore",
        inputs=job.inputs,
        outputs=(
            JobOutput(
                name="up",
                target=f"{STORE}/sent/",
                path_on_compute="workspaceblobstore/bar.pkl",
                otherwise="./bar.pkl",
                is_file=True,
            ),
            JobOutput(
                name="out1",
                target=f"{STORE}/o/{{run-id}}/{{output-name}}/",
                globs=("*.pkl",),
                register_as="made",
                description="what was",
            ),
            JobOutput(name="out2", overwrite=False),
        ),
        environment={"A": "1"},
        timeout_s=600,
    )


@AS_SAVED
def test_a_command(read, suffix, name):
    job = read(f"command{suffix}", name)
    assert job.command == ShellCommand(line="echo hello")
    assert (job.inputs, job.outputs, job.environment) == ((), (), {})
    assert [remark.partition(":")[0] for remark in job.remarks] == ["target", "nodeCount"]


@AS_SAVED
def test_a_writable_mount_is_refused_in_one_line(read, suffix, name):
    with pytest.raises(UsageError) as caught:
        read(f"refused_mount_output{suffix}", name)
    assert caught.value.message.endswith(
        f"/{name}: outputData.out.mechanism: writable mounts are not in this version; use upload: it is sent after the "
        "command"
    )


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A workspace whose `config.json` is the package's."""
    monkeypatch.delenv("MOUNTD_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".azureml").mkdir()
    shutil.copyfile(WRITTEN / "config.json", tmp_path / ".azureml/config.json")
    Catalog.init(tmp_path)
    return Workspace.from_config()


def test_the_file_that_names_a_workspace(workspace, tmp_path):
    assert (workspace.name, workspace.resource_group) == ("mine", "group")
    assert workspace.subscription_id == "00000000-0000-0000-0000-000000000001"
    assert (tmp_path / ".azureml/config.json").read_text() == (WRITTEN / "config.json").read_text()


def test_datastores_and_references_are_shown_alike(workspace):
    blob = Datastore.register_azure_blob_container(
        workspace, "blobby", "container", account_name="account", account_key=KEY
    )
    share = Datastore.register_azure_file_share(workspace, "filey", "share", account_name="account", account_key=KEY)
    assert f"{blob}\n" == (WRITTEN / "shown_blob.json").read_text()
    assert f"{share}\n" == (WRITTEN / "shown_file.json").read_text()
    references = [blob.as_mount(), DataReference(blob, "bar", path_on_datastore="./bar", mode="download")]
    assert [str(reference) for reference in references] == json.loads((WRITTEN / "shown_references.json").read_text())
