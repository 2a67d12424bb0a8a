"""The tutorial: data uploaded, a script configured and submitted, its log, and the training itself."""

import json
import re

import pytest

from mountd.catalog.datastore import BlobDatastore, Credentials
from mountd.catalog.workspace import Workspace
from mountd.run import metrics
from tests.pages import tutorial
from tests.pages.cases import case

pytestmark = [pytest.mark.fuse, pytest.mark.azurite]

WAIT = """
    run.wait_for_completion(show_output=True)
    print('metrics', run.get_metrics())
"""


@pytest.fixture
def tutorials(notebook, emulated, azurite_container):
    """The tutorial's directory, its default datastore a Blob container."""
    default = BlobDatastore(
        name="workspaceblobstore",
        account_name=emulated["account"],
        container_name=azurite_container.name,
        protocol="http",
        endpoint=azurite_container.account_url.split("/")[2],
        credentials=Credentials(account_key=emulated["key"]),
    )
    Workspace(notebook.directory).add(default, overwrite=True)
    notebook.write({".azureml/pytorch-env.yml": tutorial.CONDA, "src/train.py": tutorial.HEAD})
    return notebook


@pytest.fixture
def uploaded(tutorials):
    """The same with the data uploaded; `said` is what that printed."""
    tutorials.write(tutorial.cifar10(8))
    tutorials.said = tutorials.run(tutorial.UPLOAD)
    return tutorials


@case("C25")
def test_the_upload_prints_what_the_page_shows(uploaded, azurite_container):
    lines = uploaded.said.splitlines()
    assert lines[-1] == "Uploaded 9 files"
    assert re.fullmatch(r"Uploading \./data/cifar-10-\S+", lines[1])
    assert lines[2] == f"Uploaded {lines[1].removeprefix('Uploading ')}, 1 files out of an estimated total of 9"
    with azurite_container.client as client:
        blobs = sorted(client.list_blob_names())
    assert len(blobs) == 9
    assert blobs[-1] == "datasets/cifar10/cifar-10-python.tar.gz"


@case("C26", "C28")
def test_the_control_script_and_the_log(uploaded):
    said = uploaded.run(tutorial.CONTROL).splitlines()
    assert said[:2] == ["Submitted to an Azure Machine Learning compute cluster. Click on the link below", ""]
    # The control script has ended, and the run goes on without it.
    log = uploaded.run(
        f"from azureml.core import *; ws = Workspace.from_config(); "
        f"run = Run(Experiment(ws, 'day1-experiment-data'), {said[2].rpartition('/')[2]!r})",
        after="run.wait_for_completion(show_output=True)",
    )
    path = re.search(r"^Mounting input to (\S+)\.$", log, re.MULTILINE)[1]
    arguments = "'--learning_rate', '0.003', '--momentum', '0.92']"
    expected = [
        "Processing 'input'.",
        "Processing dataset FileDataset",
        "{",
        '  "source": [',
        "    \"('workspaceblobstore', 'datasets/cifar10')\"",
        '  "definition": [',
        '    "GetDatastoreFiles"',
        '  "registration": {',
        '    "name": null,',
        f"Mounting input to {path}.",
        f"Mounted input to {path} as folder.",
        f"Current directory:  {uploaded.directory}/.azureml/runs/{said[2].rpartition('/')[2]}/code",
        f"Preparing to call script [ train.py ] with arguments: ['--data_path', '$input', {arguments}",
        f"After variable expansion, calling script [ train.py ] with arguments: ['--data_path', '{path}', {arguments}",
        "===== DATA =====",
        f"DATA PATH: {path}",
        "LIST FILES IN DATA PATH...",
    ]
    rest = iter(log.splitlines())
    for line in expected:
        assert any(line in said_line for said_line in rest), f"missing, or in another order: {line}\n{log}"
    assert set(json.loads(next(rest).replace("'", '"'))) == {"cifar-10-batches-py", "cifar-10-python.tar.gz"}


@pytest.mark.torch
@case("C27")
def test_training_over_the_mount_and_over_a_download(tutorials):
    # 2,000 batches of 4 an epoch: what the script wants before it logs
    tutorials.write({**tutorial.cifar10(1600), "src/train.py": tutorial.TRAIN, "src/model.py": tutorial.MODEL})
    tutorials.write(tutorial.TORCHVISION)
    tutorials.run(tutorial.UPLOAD)
    mounted = tutorials.run(tutorial.CONTROL, after=WAIT)
    downloaded = tutorials.run(tutorial.CONTROL.replace(".as_mount()", ".as_download()"), after=WAIT)
    losses = [re.findall(r"^epoch=\d, batch= 2000: loss \d\.\d\d$", out, re.MULTILINE) for out in (mounted, downloaded)]
    assert len(losses[0]) == 2
    assert losses[0] == losses[1]
    assert "\nFinished Training\n" in mounted
    kept = [metrics.read_metrics(run) for run in sorted((tutorials.directory / ".azureml" / "runs").iterdir())]
    values = [[metric.value for metric in found if metric.name == "loss"] for found in kept]
    assert len(values[0]) == 2
    assert values[0] == values[1]
