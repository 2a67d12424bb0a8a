"""Run configurations of Azure ML's first SDK."""

import pytest

from mountd.errors import UsageError
from mountd.run.environment import Mode
from mountd.run.job import ShellCommand
from mountd.run.job_file import read_job_file


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a run configuration of the text given, in a project's `.azureml`."""
    (tmp_path / "project/.azureml").mkdir(parents=True)

    def job(text):
        path = tmp_path / "project/.azureml/train.runconfig"
        path.write_text(text)
        return read_job_file(path)

    return job


def test_a_command_and_variables(read):
    job = read(
        "command: [echo, hello]\ntarget: cpu\nnodeCount: 4\nframework: PyTorch\ndocker: {useDocker: true}\n"
        "maxRunDurationSeconds: 30\nenvironmentVariables: {A: 1}\nenvironment: {environmentVariables: {A: x, B: y}}\n"
    )
    assert job.command == ShellCommand(line="echo hello")
    assert (job.environment, job.timeout_s) == ({"A": "1", "B": "y"}, 30)
    assert [remark.partition(":")[0] for remark in job.remarks] == ["target", "nodeCount", "framework", "docker"]


def test_the_python_of_an_environment_that_the_user_manages(read):
    python = "environment: {python: {userManagedDependencies: %s, interpreterPath: /opt/py}}\n"
    assert read("script: t.py\n" + python % "true").command.interpreter == "/opt/py"
    assert read("script: t.py\n" + python % "false").command.interpreter != "/opt/py"


def test_data_in_all_its_forms(read):
    job = read(
        "script: t.py\narguments: ['DatasetConsumptionConfig:b', 'DatasetConsumptionConfig:other', 3]\ndata:\n"
        "  a: {dataLocation: {dataset: {id: 0a1b}}, mechanism: Download}\n"
        "  b: {dataLocation: {dataPath: {datastoreName: ds, relativePath: a b/c}}, mechanism: mount,"
        " environmentVariableName: bee}\n"
        "  c: {dataLocation: {uri: {path: /local, isFile: false}}}\n"
    )
    assert [(item.name, item.source, item.mode) for item in job.inputs] == [
        ("a", "azureml:0a1b", Mode.DOWNLOAD),
        ("bee", "azureml://datastores/ds/paths/a%20b/c", Mode.MOUNT),
        ("c", "/local", Mode.DIRECT),
    ]
    assert job.command.arguments == ("DatasetConsumptionConfig:bee", "DatasetConsumptionConfig:other", "3")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("script: t.py\nscripts: x\n", "scripts: is not a known field"),
        ("arguments: []\n", "script: is missing, and so is command"),
        ("script: t\ndataReferences: {a: {mode: mount}}\n", "dataReferences.a: dataStoreName: is missing"),
        (
            "script: t\ndataReferences: {a: {dataStoreName: d, mode: hdfs}}\n",
            "dataReferences.a.mode: Invalid mode hdfs",
        ),
        ("script: t\ndata: {a: {dataLocation: {}}}\n", "data.a.dataLocation: names no data"),
        ("script: t\ndata: {a: {dataLocation: {}, mechanism: upload}}\n", "data.a.mechanism: an input is not uploaded"),
        ("script: t\noutputData: {o: {mechanism: mount}}\n", "outputData.o.mechanism: writable mounts are not in this"),
        ("script: t\ndataReferences: {a b: {dataStoreName: d}}\n", "input 'a b': the name cannot be used"),
        ("- x\n", "must hold fields"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_field(read, text, said):
    with pytest.raises(UsageError) as caught:
        read(text)
    assert f"train.runconfig: {said}" in caught.value.message
