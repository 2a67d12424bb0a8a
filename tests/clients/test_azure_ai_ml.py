"""What azure-ai-ml writes is read: every field, as YAML and as JSON (`write_fixtures.py` has made the files)."""

from functools import partial
from pathlib import Path

import pytest
import yaml

from mountd.catalog.dataset import define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.dataset_yaml import read_data_asset
from mountd.catalog.datastore import encode_datastore
from mountd.catalog.datastore_input import datastore_from_file
from mountd.catalog.workspace import Workspace
from mountd.errors import UsageError
from mountd.run.environment import Mode
from mountd.run.job import JobInput, JobOutput, JobSpec, ShellCommand
from mountd.run.job_file import read_job_file

WRITTEN = Path(__file__).parent / "data/azure-ai-ml-1.35.2"
AZURES_OWN = {"$schema", "name", "version", "description", "type", "path", "tags", "properties"}
STORE = "azureml://datastores/workspaceblobstore/paths"
LONG = (
    "azureml://subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/local/workspaces/w/datastores/"
    "workspaceblobstore/paths/d/"
)


def files(directory, *, refused=False):
    """Return the files of `directory`, without or with only those that mountd refuses."""
    return [
        pytest.param(file, id=file.name)
        for file in sorted((WRITTEN / directory).iterdir())
        if (file.stem == "one_lake" or file.stem.startswith("refused")) is refused
    ]


@pytest.mark.parametrize("file", files("datastores"))
def test_a_datastore_is_read_and_written_again(file):
    theirs = yaml.safe_load(file.read_text())
    ours = yaml.safe_load(encode_datastore(datastore_from_file(file, name=None, secret=None)))
    assert "azuremlschemas" in ours.pop("$schema")
    assert ours == {key: value for key, value in theirs.items() if value != {}}


@pytest.mark.parametrize("file", files("data"))
def test_a_data_asset_is_registered_as_it_is(tmp_path, file):
    theirs = yaml.safe_load(file.read_text())
    asset = read_data_asset(file)
    definition = define(asset.all_paths, environ={}, cwd=tmp_path, type=asset.type)
    made, *_ = DatasetRegistry(Workspace.init(tmp_path)).register(
        definition, asset.name, description=asset.description, tags=asset.tags, version=str(asset.version)
    )
    assert (made.name, made.version) == (theirs["name"], theirs["version"])
    kept = yaml.safe_load((tmp_path / ".azureml/data" / made.name / f"{made.version}.yml").read_text())
    assert kept.keys() <= AZURES_OWN
    assert kept["path"] == theirs["path"].rstrip("/")
    for field, absent in (("type", None), ("tags", {}), ("description", None)):
        assert kept.get(field, absent) == theirs.get(field, absent)


def expected_inputs():
    """Return the inputs that every job here has, but those in the modes of a table."""
    modes = {"ro_mount": Mode.MOUNT, "download": Mode.DOWNLOAD, "direct": Mode.DIRECT}
    for kind in ("uri_folder", "uri_file", "mltable"):
        for name, mode in modes.items():
            said = None if kind == "mltable" else kind
            yield JobInput(name=f"{kind}_{name}", source=f"{STORE}/{kind}", mode=mode, kind=said)
    for kind in ("custom_model", "mlflow_model", "triton_model"):
        yield JobInput(name=kind, source="azureml:model:1")
    yield JobInput(name="eval_mount", source="azureml:table:3", evaluate=True)
    yield JobInput(name="eval_download", source="azureml:table:3", mode=Mode.DOWNLOAD, evaluate=True)
    yield JobInput(name="label", source="azureml:cifar@latest", kind="uri_folder")
    yield JobInput(name="local", source="./digits.csv", kind="uri_file")
    yield JobInput(name="long", source=LONG, kind="uri_folder")
    yield JobInput(name="plain", source=f"{STORE}/d/", kind="uri_folder")
    yield JobInput(name="web", source="https://example.org/titanic.csv", mode=Mode.DOWNLOAD, kind="uri_file")


@pytest.mark.parametrize("suffix", [".yml", ".json"])
@pytest.mark.parametrize(
    ("stem", "name", "experiment"),
    [
        ("command", "plain", "letters"),
        ("built", None, "jobs"),  # the package leaves the experiment out, and its name is the component's
    ],
)
def test_a_job_with_everything(stem, name, experiment, suffix):
    job = read_job_file(WRITTEN / "jobs" / f"{stem}{suffix}")
    by_name = {item.name: item for item in job.inputs}
    assert by_name == {item.name: item for item in expected_inputs()}
    assert job == JobSpec(
        experiment=experiment,
        name=name,
        command=ShellCommand(
            line="python train.py --data ${{inputs.plain}} --rate ${{inputs.rate}} --out ${{outputs.made}}"
        ),
        base=str(WRITTEN / "jobs"),
        code="./src",
        inputs=job.inputs,
        outputs=(
            JobOutput(name="made", target=f"{STORE}/o/{{run-id}}/", register_as="made"),
            JobOutput(name="report", target=f"{STORE}/report.html", is_file=True),
            JobOutput(name="rest"),
        ),
        literals={"count": "2", "rate": "0.003", "flag": "1", "word": "a text"},  # the package writes True as 1
        environment={"A": "1"},
        display_name="Shown",
        description="as the package writes it",
        tags={"stage": "test"},
        timeout_s=600,
        remarks=(
            "outputs.made.version: has no meaning here; the dataset gets its next version",
            "compute: has no meaning here; the job runs on this node",
            "environment: has no meaning here; the job runs in the environment of this node",
            "resources: has no meaning here; the job takes what this node has",
        ),
    )


@pytest.mark.parametrize("suffix", [".yml", ".json"])
def test_the_smallest_job(suffix):
    job = read_job_file(WRITTEN / "jobs" / f"anonymous{suffix}")
    assert (job.command, job.code, job.name, job.inputs) == (ShellCommand(line="echo hello"), None, None, ())


REFUSED = {
    "one_lake": "type: OneLake is not in this version",
    "refused_direct_output": "outputs.o.mode: direct outputs are not in this version; use upload",
    "refused_rw_mount_input": "inputs.d: is data that azure-ai-ml wrote as text; write its type:, path: and mode:",
    "refused_rw_mount_output": "outputs.o.mode: writable mounts are not in this version; use upload: it is sent after "
    "the command",
}


@pytest.mark.parametrize("file", [*files("datastores", refused=True), *files("jobs", refused=True)])
def test_what_is_refused_is_refused_in_one_line(file):
    read = {"jobs": read_job_file, "datastores": partial(datastore_from_file, name=None, secret=None)}
    with pytest.raises(UsageError) as caught:
        read[file.parent.name](file)
    assert caught.value.message == f"{file}: {REFUSED[file.stem]}"


def test_there_is_a_file_of_every_kind():
    assert {yaml.safe_load(param.values[0].read_text())["type"] for param in files("datastores")} == {
        "azure_blob",
        "azure_file",
        "azure_data_lake_gen1",
        "azure_data_lake_gen2",
    }
    assert {yaml.safe_load(param.values[0].read_text())["type"] for param in files("data")} == {
        "uri_file",
        "uri_folder",
        "mltable",
    }
