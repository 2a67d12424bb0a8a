"""How runs get at data: names, modes, and the job that comes of a configuration."""

import logging
import re
import sys

import pytest

from mountd.azureml.core import Dataset, Environment, Experiment, Run, ScriptRunConfig
from mountd.azureml.core.runconfig import RunConfiguration
from mountd.azureml.core.submission import job_of
from mountd.azureml.data import OutputFileDatasetConfig
from mountd.azureml.data.dataset_consumption_config import DatasetConsumptionConfig
from mountd.azureml.exceptions import NotPartOfMountdError, UserErrorException
from mountd.azureml.train.estimator import Estimator
from mountd.run.environment import Mode


@pytest.fixture
def datastore(workspace):
    return workspace.get_default_datastore()


@pytest.fixture
def dataset(datastore):
    return Dataset.File.from_files((datastore, "d"))


@pytest.fixture
def table(datastore):
    return Dataset.Tabular.from_delimited_files((datastore, "t.csv"))


@pytest.fixture
def job(workspace):
    """Returns the job for arguments, or for a whole configuration."""

    def make(*arguments, config=None, source_directory=None):
        config = config or ScriptRunConfig(source_directory, "train.py", list(arguments)).run_config
        return job_of(config, source_directory=source_directory, experiment="e", workspace=workspace, tags={"k": 1})

    return make


def test_a_name_is_given_or_made_up(dataset, workspace):
    assert dataset.as_named_input("x").as_mount("/tmp/dataset").path_on_compute == "/tmp/dataset"
    assert re.fullmatch(r"input__[0-9a-f]{8}", dataset.as_mount().name)
    registered = dataset.register(workspace, "letters")
    assert registered.as_download().name == f"input__{registered.id[:8]}"


@pytest.mark.parametrize("name", ["1x", "a-b", "", "ä"])
def test_a_name_that_cannot_be(dataset, name):
    with pytest.raises(UserErrorException, match=f'Invalid input name "{name}"'):
        dataset.as_named_input(name)


def test_the_name_of_a_variable_of_the_system(dataset, caplog):
    with caplog.at_level(logging.WARNING):
        dataset.as_named_input("PATH")
    assert "PATH is that of a variable of the system" in caplog.text


def test_modes(dataset, table):
    with pytest.raises(UserErrorException, match=r"Invalid mode 'copy'\. Mode can only be mount"):
        DatasetConsumptionConfig("x", dataset, "copy")
    with pytest.raises(NotPartOfMountdError, match=r"^Mode 'link' of a dataset is not part of mountd"):
        DatasetConsumptionConfig("x", dataset, "link")
    with pytest.raises(
        UserErrorException, match=r"TabularDataset does not support mount\. Only FileDataset supports mount"
    ):
        table.as_named_input("t").as_mount()


def test_arguments_become_words_and_inputs(job, dataset, table, datastore):
    reference = datastore.path("./bar", "my-ref").as_download()
    made = job("--n", 0.5, dataset.as_named_input("input").as_mount(), table.as_named_input("t"), reference, datastore)
    assert made.command.arguments == (
        "--n",
        "0.5",
        "$input",
        "$t",
        "$AZUREML_DATAREFERENCE_my-ref",
        "$AZUREML_DATAREFERENCE_workspaceblobstore",
    )
    assert made.command.interpreter == sys.executable
    by_name = {item.name: item for item in made.inputs}
    assert by_name["input"].source.startswith("azureml:")
    assert by_name["input"].announcement.startswith("Processing dataset FileDataset\n{")
    assert by_name["t"].mode is Mode.DIRECT
    assert by_name["my-ref"].mode is Mode.DOWNLOAD
    assert by_name["my-ref"].source == "azureml://datastores/workspaceblobstore/paths/bar"
    assert made.tags == {"k": "1"}


def test_a_registered_dataset_is_named(job, dataset, workspace):
    registered = dataset.register(workspace, "letters")
    (item,) = job(registered.as_download("here")).inputs
    assert (item.source, item.path_on_compute, item.mode) == ("azureml:letters:1", "here", Mode.DOWNLOAD)


def test_one_name_for_two_things_is_refused(job, dataset, datastore):
    with pytest.raises(UserErrorException, match="Two different data references have the name workspaceblobstore"):
        job(datastore.as_mount(), datastore.as_download())
    with pytest.raises(UserErrorException, match="Two different data references have the name workspaceblobstore"):
        Estimator("code", entry_script="t.py", inputs=[datastore.as_download()], script_params={"-d": datastore})
    with pytest.raises(UserErrorException, match="Two different datasets have the input name x"):
        job(dataset.as_named_input("x").as_mount(), dataset.as_named_input("x").as_download())
    again = dataset.as_named_input("x").as_mount()
    assert len(job(again, again, datastore, datastore).inputs) == 2


def test_what_data_says_wins(job, dataset, caplog):
    config = RunConfiguration("t.py", [dataset.as_named_input("x").as_mount()])
    config.data["x"] = dataset.as_named_input("other").as_download()
    with caplog.at_level(logging.WARNING):
        (item,) = job(config=config).inputs
    assert (item.name, item.mode) == ("x", Mode.DOWNLOAD)
    assert "The input x of the arguments is replaced" in caplog.text


def test_a_dataset_needs_a_way(job, dataset):
    with pytest.raises(UserErrorException, match="needs a way to get at it"):
        job(dataset)


def test_outputs(job, datastore):
    output = OutputFileDatasetConfig("out", (datastore, "/o/{run-id}/{output-name}"), "results")
    made = job("--to", output.as_upload(overwrite=True, source_globs="*.pkl").register_on_complete("model"))
    assert made.command.arguments == ("--to", "$out")
    (item,) = made.outputs
    assert item.target == "azureml://datastores/workspaceblobstore/paths/o/{run-id}/{output-name}"
    assert (item.path_on_compute, item.overwrite, item.globs, item.register_as) == (
        "results",
        True,
        ("*.pkl",),
        "model",
    )
    plain = OutputFileDatasetConfig()
    assert re.fullmatch(r"output_[0-9a-f]{8}", plain.name)
    with pytest.raises(UserErrorException, match="Writing through a mount is not in this version"):
        job(plain)
    with pytest.raises(UserErrorException, match="destination is a tuple"):
        OutputFileDatasetConfig(destination="x")


def test_an_upload_needs_a_path_on_the_compute(job, datastore):
    with pytest.raises(Exception, match="misses the relative path on the compute"):
        job(datastore.as_upload())


def test_the_environments_variables_and_the_target(job, nowhere):
    (nowhere / "env.yml").write_text("name: e\n")
    environment = Environment.from_conda_specification("e", "env.yml")
    environment.environment_variables["A"] = 1
    config = ScriptRunConfig(".", "t.py", compute_target="cpu-cluster", environment=environment).run_config
    config.environment_variables["B"] = "2"
    config.source_directory_data_store = "workspaceblobstore"
    made = job(config=config, source_directory=".")
    assert made.environment == {"A": "1", "B": "2"}
    assert made.remarks == ("the compute target cpu-cluster is this node",)
    assert made.code_datastore == "workspaceblobstore"
    assert made.code == str(nowhere)
    with pytest.raises(UserErrorException, match=r"Could not find file nothing\.yml"):
        Environment.from_conda_specification("e", "nothing.yml")


def test_what_a_configuration_does_not_have():
    with pytest.raises(AttributeError, match=r"RunConfiguration\.node_count is not part of mountd"):
        RunConfiguration().node_count = 4
    with pytest.raises(UserErrorException, match="distributed_job_config is not part of mountd"):
        ScriptRunConfig(".", "t.py", distributed_job_config=object())
    with pytest.raises(UserErrorException, match="needs a script or a command"):
        ScriptRunConfig(".")
    with pytest.raises(UserErrorException, match="a run of mountd has one node"):
        Estimator(".", entry_script="t.py", node_count=2)
    with pytest.raises(UserErrorException, match=r"Estimator\(distributed_training=…\) is not part of mountd"):
        Estimator(".", entry_script="t.py", distributed_training=object())


def test_submit_takes_what_it_can_run(workspace):
    with pytest.raises(UserErrorException, match="takes a ScriptRunConfig or an Estimator"):
        Experiment(workspace, "e").submit(object())
    with pytest.raises(UserErrorException, match="the experiment's name"):
        Experiment(workspace, "no/name").submit(ScriptRunConfig(None, command="true"))


def test_a_script_that_no_run_started(workspace, capsys):
    run = Run.get_context()
    assert run.id.startswith("OfflineRun_")
    assert run.experiment.workspace.name == workspace.name
    run.log("loss", 0.5)
    run.log("loss", 0.25, step=2)
    run.log_list("list", [1, 2])
    run.log_row("row", a=1)
    run.log_table("table", {"a": [1]})
    assert capsys.readouterr().out.startswith("Attempted to log scalar metric loss:\n0.5\n")
    assert run.get_metrics() == {"loss": [0.5, 0.25], "list": [1, 2], "row": {"a": 1}, "table": {"a": [1]}}
    assert run.get_metrics("row") == {"row": {"a": 1}}
    assert run.input_datasets == {}
    with pytest.raises(UserErrorException, match="was not started by a run"):
        Run.get_context(allow_offline=False)
