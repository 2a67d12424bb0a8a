"""Command jobs of Azure ML's CLI v2, read."""

import pytest

from mountd.errors import NotFoundError, UsageError
from mountd.run.environment import Mode
from mountd.run.job_yaml import read_job


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a job of the text given."""

    def job(text):
        (tmp_path / "job.yml").write_text(text)
        return read_job(tmp_path / "job.yml")

    return job


FULL = """
$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
type: command
name: my-run.1
display_name: Shown
experiment_name: digits
description: What it is for
tags: {stage: test, round: 2}
code: src
command: python train.py --data ${{inputs.data}} --lr ${{inputs.lr}} --out ${{outputs.model}} $[[--w ${{inputs.w}}]]
environment: azureml:AzureML-sklearn-1.0@latest
environment_variables: {A: x, B: 1, C: true}
compute: azureml:cpu-cluster
resources: {instance_count: 2}
limits: {timeout: 90}
inputs:
  data: {type: uri_folder, path: "azureml://datastores/ds/paths/d", mode: download}
  file: {type: uri_file, path: ./a.csv}
  table: {type: mltable, path: "azureml:table:3", mode: direct}
  lr: 0.5
  steps: 3
  verbose: true
  word: text
  w:
outputs:
  model: {type: uri_folder, mode: upload, path: "azureml://datastores/ds/paths/models/${{name}}"}
  report: {type: uri_file, mode: upload, path: azureml://datastores/ds/paths/r.html}
  plain:
"""


def test_everything_in_a_job(read, tmp_path):
    job = read(FULL)
    assert (job.name, job.display_name, job.experiment) == ("my-run.1", "Shown", "digits")
    assert (job.description, job.tags, job.timeout_s) == ("What it is for", {"stage": "test", "round": "2"}, 90)
    assert (job.code, job.base) == ("src", str(tmp_path))
    assert job.environment == {"A": "x", "B": "1", "C": "True"}
    assert job.literals == {"lr": "0.5", "steps": "3", "verbose": "True", "word": "text"}
    assert [(item.name, item.mode, item.source) for item in job.inputs] == [
        ("data", Mode.DOWNLOAD, "azureml://datastores/ds/paths/d"),
        ("file", Mode.MOUNT, "./a.csv"),
        ("table", Mode.DIRECT, "azureml:table:3"),
    ]
    assert [(item.name, item.target, item.is_file) for item in job.outputs] == [
        ("model", "azureml://datastores/ds/paths/models/{run-id}/", False),
        ("report", "azureml://datastores/ds/paths/r.html", True),
        ("plain", None, False),
    ]
    assert job.remarks == (
        "outputs.plain: has no mode; it is uploaded after the command",
        "compute: has no meaning here; the job runs on this node",
        "environment: has no meaning here; the job runs in the environment of this node",
        "resources: has no meaning here; the job takes what this node has",
    )


def test_a_job_needs_a_command_alone(read, tmp_path):
    job = read("command: echo hello\n")
    assert job.command.line == "echo hello"
    assert job.code is None
    assert job.experiment == tmp_path.name.replace("-", "_")


def test_an_evaluated_table(read):
    job = read("command: 'true'\ninputs: {t: {path: azureml:t:1, type: mltable, mode: eval_download}}\n")
    assert (job.inputs[0].evaluate, job.inputs[0].mode) == (True, Mode.DOWNLOAD)


def test_what_a_component_alone_declares(read):
    job = read(
        "component: {command: 'x ${{inputs.n}} ${{outputs.o}}', tags: {a: b}, name: c, outputs: {o: {type: uri_file}},"
        " inputs: {n: {type: integer, default: '3'}, d: {type: uri_folder, optional: true}}}\n"
    )
    assert (job.literals, job.inputs, job.tags, job.name) == ({"n": "3"}, (), {"a": "b"}, None)
    assert [(item.name, item.is_file) for item in job.outputs] == [("o", True)]


def test_a_type_that_is_said_is_what_the_data_must_be(read):
    job = read(
        "command: 'true'\ninputs: {a: {path: p, type: uri_file}, b: {path: p, type: uri_folder}, c: {path: p},"
        " d: {path: p, type: mltable}}\n"
    )
    assert [item.kind for item in job.inputs] == ["uri_file", "uri_folder", None, None]


def test_direct_local_paths_are_absolute(read, tmp_path):
    job = read("command: 'true'\ninputs: {d: {path: ./x/../y, mode: direct}}\n")
    assert job.inputs[0].source == f"{tmp_path}/y"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("command: x\ncomputee: y\n", "computee: is not a known field"),
        ("code: .\n", "command: is missing"),
        ("component: azureml:trainer:1\n", "component: registered components are not in this version"),
        ("component: {inputs: {}}\n", "command: is missing"),
        ("type: pipeline\njobs: {}\n", "type: 'pipeline' jobs are not in this version"),
        ("- a\n", "must hold the fields of a job"),
        ("command: x\ninputs: {a: {path: p, mood: y}}\n", "inputs.a: mood: is not a known field"),
        ("command: x\ninputs: {a: {type: uri_folder}}\n", "inputs.a.path: is missing"),
        ("command: x\ninputs: {a: {path: p, mode: rw_mount}}\n", "inputs.a.mode: writable mounts are not in this"),
        ("command: x\ninputs: {a: {path: p, mode: eval_mount}}\n", "inputs.a.mode: 'eval_mount' is not a mode of"),
        (
            "command: x\ninputs: {a: 2026-01-31}\n",
            "inputs.a: is a date or time as YAML reads it; put it in quotes",
        ),
        ("command: x\ninputs: {a: {default: 2026-01-31 10:00:00}}\n", "inputs.a: default: is a date or time as YAML"),
        ("command: x\nenvironment_variables: {A: 2026-01-31}\n", "environment_variables[...]: is a date or time"),
        ("command: x\ninputs: {a: {path: p, type: parquet}}\n", "inputs.a.type: 'parquet' is not a type of data"),
        (
            "command: x\noutputs: {a: {mode: rw_mount}}\n",
            "outputs.a.mode: writable mounts are not in this version; use upl",
        ),
        ("command: x\nlimits: {timeout: 0}\n", "limits.timeout: must be more than 0 seconds"),
        ("command: x\nlimits: {timeout: .nan}\n", "limits.timeout: must be more than 0 seconds"),
        ("command: x\nlimits: {time: 1}\n", "limits.time: is not a known field"),
        ("command: 'x ${{inputs.nope}}'\n", "command: names inputs.nope, which the job does not have"),
        ("command: 'x ${{inputs.a}}'\ninputs: {a: }\n", "command: names inputs.a, which"),
        ("command: 'x ${{outputs.nope}}'\n", "command: names outputs.nope, which"),
        ("command: x\ncode: git+https://github.com/a/b\n", "code: repositories are not cloned"),
        ("command: x\ninputs: {a: 1}\noutputs: {a: }\n", "the name 'a' is used for more than one"),
        ("command: x\nname: ../../etc\n", "the run's name '../../etc' cannot be used"),
        ("command: x\nexperiment_name: a/b\n", "the experiment's name 'a/b' cannot be used"),
        ("command: x\ninputs: {'a b': 1}\n", "input 'a b': the name cannot be used"),
        ("command: x\ninputs: {a: [1]}\n", "inputs.a: must hold fields"),
        ("command: x\noutputs: {a: {mode: up}}\n", "outputs.a: mode: 'up' is none of direct, mount, rw_mount, upload"),
        ("command: [x]\n", "command: Expected `str`"),
        ("command: ' '\n", "the command is empty"),
        ('command: "x \\0"\n', "the command holds a zero byte"),
        ("command: x\nenvironment_variables: {'A=B': c}\n", "the environment variable 'A=B' cannot be set"),
        ("command: x\nenvironment_variables: {'': c}\n", "the environment variable '' cannot be set"),
        ('command: x\nenvironment_variables: {A: "\\0"}\n', "the environment variable 'A' holds a zero byte"),
        ("command: x\noutputs: {a: {name: b c}}\n", "output 'a': cannot be registered: dataset 'b c': is no"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_field(read, text, said):
    with pytest.raises(UsageError) as caught:
        read(text)
    assert f"/job.yml: {said}" in caught.value.message


def test_a_missing_file(tmp_path):
    with pytest.raises(NotFoundError, match=r"nope.yml: there is no such file"):
        read_job(tmp_path / "nope.yml")
