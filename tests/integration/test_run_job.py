"""`mountd run -f` and `mountd runs` as a user runs them: real mounts and processes."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from mountd.catalog.dataset import define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.workspace import Workspace
from tests.support.mounts import PROGRAM
from tests.support.run_node import PATIENCE_S, STORE, put_sources

pytestmark = pytest.mark.fuse


@pytest.fixture
def node(run_node):
    put_sources(run_node)
    return run_node


def job_file(node, text, name="job.yml"):
    (node.directory / name).write_text(text)
    return name


JOB = f"""
display_name: the first
experiment_name: letters
code: ./src
command: python train.py ${{{{inputs.data}}}} "${{{{outputs.model}}}}" && echo "$A ${{{{inputs.word}}}}"
inputs:
  data: {{type: uri_folder, path: {STORE}/paths/train}}
  word: fine
outputs:
  model: {{type: uri_folder, mode: upload, path: {STORE}/paths/models/m1}}
environment_variables: {{A: all is}}
compute: azureml:gpu
"""


def test_a_record_that_could_not_be_kept_is_told_of_where_it_is_seen(node):
    spoiled = node.run("run", "-f", job_file(node, "command: rm ../run.json && mkdir -p ../run.json/x\n"), check=0)
    assert "mountd: warning: the record and the log of run " in spoiled.stderr


def test_a_job_from_its_file_to_its_outputs(node):
    done = node.run("run", "-f", job_file(node, JOB), check=0)
    assert (node.store / "models/m1/model.txt").read_text() == "first\n"
    (run,) = node.runs()
    assert (run["status"], run["exit_code"], run["experiment"]) == ("Completed", 0, "letters")
    directory = Path(run["directory"])
    assert sorted(os.listdir(directory / "code")) == [".amlignore", "logs", "outputs", "train.py"]
    assert Path(run["log"]).read_text() == done.stdout
    assert done.stderr == ""
    mount_point = directory / "inputs/data"
    lines = done.stdout.splitlines()
    assert lines[:9] == [
        "mountd: compute: has no meaning here; the job runs on this node",
        "Initialize DatasetContextManager.",
        "Enter __enter__ of DatasetContextManager",
        "Processing 'data'.",
        "Mode: 'mount'.",
        f"Mounting data to {mount_point}.",
        f"Mounted data to {mount_point} as folder.",
        "Exit __enter__ of DatasetContextManager",
        "Entering Run History Context Manager.",
    ]
    assert lines[9] == f"Current directory:  {directory}/code"
    assert lines[12:] == [
        "",
        "Script type = None",
        "DATA ['a.txt', 'deep']",
        "done",
        "all is fine",
        "Uploading output 'model'.",
        f"Uploaded output 'model' to {STORE}/paths/models/m1/.",
        f"Unmounting {mount_point}.",
        f"Finishing unmounting {mount_point}.",
    ]
    (shown,) = [json.loads(node.run("runs", "show", run["id"], "--json", check=0).stdout)]
    assert shown == run
    text = node.run("runs", "show", check=0).stdout
    assert "the first" in text
    assert f"mount at {mount_point} from {STORE}/paths/train" in text
    assert "letters_" in node.run("runs", "list", check=0).stdout


def test_a_job_that_fails_says_so_everywhere(node):
    text = 'command: "echo to see; exit 3"\noutputs: {o: {mode: upload}}\n'
    done = node.run("run", "-f", job_file(node, text), check=3)
    assert "to see\n" in done.stdout
    (run,) = node.runs()
    assert (run["status"], run["exit_code"], run["error"]) == ("Failed", 3, "the command ended with exit status 3")


def test_an_input_that_fails_is_named_with_the_reason(node):
    text = f"command: touch ran\ninputs: {{data: {{path: {STORE}/paths/no/such}}}}\n"
    done = node.run("run", "-f", job_file(node, text), check=125)
    (run,) = node.runs()
    assert run["status"] == "Failed"
    assert run["error"].startswith("input 'data': ")
    assert "no/such" in run["error"]
    assert f"mountd: error: {run['error']}\n" in done.stdout
    assert done.stderr == f"mountd: error: {run['error']}\n"
    assert done.stderr in Path(run["log"]).read_text()
    assert not (Path(run["directory"]) / "code/ran").exists()


def test_a_source_that_cannot_be_resolved_is_no_traceback(node):
    text = "command: touch ran\ninputs: {data: {path: azureml://datastores/nowhere/paths/x}}\n"
    done = node.run("run", "-f", job_file(node, text), check=125)
    assert "mountd: error: input 'data': datastore nowhere" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert node.runs()[0]["status"] == "Failed"


def test_a_time_limit_ends_the_command(node):
    text = "command: 'trap \"echo asked; exit 9\" TERM; sleep 60 & wait'\nlimits: {timeout: 2}\n"
    done = node.run("run", "-f", job_file(node, text), check=9)
    assert "asked\n" in done.stdout
    assert node.runs()[0]["error"] == "the command was ended: its time limit of 2 s was over"


@pytest.mark.parametrize("words", [["-f", "job.yml", "--", "true"], ["-f", "job.yml", "--mount", "a=/tmp"], []])
def test_a_job_file_says_everything(node, words):
    job_file(node, "command: 'true'\n")
    assert node.run("run", *words, check=2).stderr.startswith("mountd: error: ")
    assert node.runs() == []


def test_a_malformed_job_is_one_line_and_no_run(node):
    done = node.run("run", "-f", job_file(node, "command: x\nfoo: 1\n"), check=2)
    assert done.stderr == "mountd: error: job.yml: foo: is not a known field\n"
    assert node.runs() == []


def test_a_job_needs_its_code_and_a_workspace(node, tmp_path):
    done = node.run("run", "-f", job_file(node, "command: x\ncode: ./nowhere\n"), check=3)
    assert "nowhere: there is no such file or directory" in done.stderr
    assert node.runs() == []
    (node.directory / ".azureml").rename(tmp_path / "elsewhere")
    assert "no workspace here or above" in node.run("run", "-f", "job.yml", check=3).stderr


RUNCONFIG = """
script: train.py
arguments: [$AZUREML_DATAREFERENCE_ref, DatasetConsumptionConfig:input, out]
framework: Python
target: local
dataReferences:
  ref: {dataStoreName: workspaceblobstore, pathOnDataStore: ./train, mode: mount}
  up: {dataStoreName: workspaceblobstore, pathOnDataStore: sent, mode: upload, pathOnCompute: ./bar.pkl}
data:
  input:
    dataLocation: {dataPath: {datastoreName: workspaceblobstore, relativePath: one}}
    mechanism: download
    environmentVariableName: input
    pathOnCompute: in/put
sourceDirectoryDataStore: workspaceblobstore
"""


def test_a_run_configuration_of_the_first_sdk(node):
    project = node.directory / "src"
    (project / ".azureml").mkdir()
    (project / ".azureml/train.runconfig").write_text(RUNCONFIG)
    (project / "train.py").write_text(
        "import os, shutil, sys\n"
        "print(sorted(os.listdir(sys.argv[1])), os.listdir('in/put'), sys.argv[2:])\n"
        "shutil.copy(os.path.join(sys.argv[1], 'a.txt'), 'bar.pkl')\n"
    )
    done = node.run("run", "-f", "src/.azureml/train.runconfig", check=0)
    (run,) = node.runs()
    code = f"{run['directory']}/code"
    assert f"\n['a.txt', 'deep'] ['file.csv'] ['{code}/in/put', 'out']\n" in done.stdout
    assert (node.store / "sent/bar.pkl").read_text() == "first\n"
    assert (node.store / "azureml" / run["id"] / "train.py").exists()
    assert run["experiment"] == "src"


def test_ctrl_c_cancels_a_job_and_its_outputs_are_kept(node):
    text = (
        "command: 'echo half > ${{outputs.o}}/x; echo up; sleep 60'\n"
        f"outputs: {{o: {{mode: upload, path: {STORE}/paths/o}}}}\n"
    )
    process = node.start_run("-f", job_file(node, text))
    for line in process.stdout:
        if line == "up\n":
            break
    assert node.runs()[0]["status"] == "Running"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    (run,) = node.runs()
    assert (run["status"], run["error"]) == ("Canceled", "ended by SIGINT")
    assert (node.store / "o/x").read_text() == "half\n"


def test_an_error_is_shown_once_where_both_outputs_are_one(node):
    name = job_file(node, f"command: 'true'\ninputs: {{data: {{path: {STORE}/paths/no/such}}}}\n")
    done = subprocess.run(
        [str(PROGRAM), "run", "-f", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd=node.directory, env=node.environ, timeout=PATIENCE_S, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 125
    assert done.stdout.count("mountd: error: input 'data': ") == 1


def test_a_log_that_nobody_reads_holds_up_no_job(node):
    process = node.start_run("-f", job_file(node, "command: seq 200000\n"))
    try:
        node.wait_until(lambda: [run for run in node.runs() if run["status"] == "Completed"], "the run is over")
        assert process.poll() is None  # it waits for its own terminal
    finally:
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert out.endswith("\n199999\n200000\n")
    assert process.returncode == 0


def test_a_closed_standard_output_costs_no_job(node):
    name = job_file(node, "command: seq 200000; exit 6\n")
    process = node.start_run("-f", name)
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 6
    process.stderr.close()
    shut = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", str(PROGRAM), "run", "-f", name],
        cwd=node.directory, env=node.environ, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert shut.returncode == 6


def test_a_named_run_is_made_once(node):
    name = job_file(node, "name: only-once\ncommand: 'true'\n")
    node.run("run", "-f", name, check=0)
    assert "run only-once: exists" in node.run("run", "-f", name, check=6).stderr
    assert [run["id"] for run in node.runs()] == ["only-once"]


def test_a_command_line_run_has_a_record_too(node):
    node.run("run", "--mount", f"data={STORE}/paths/train", "--", "sh", "-c", 'cat "$data/a.txt"; exit 4', check=4)
    (run,) = node.runs()
    assert (run["status"], run["exit_code"], run["experiment"]) == ("Failed", 4, "run")
    assert run["inputs"][0]["place"] == f"{STORE}/paths/train"
    assert "Mounted data to" in Path(run["log"]).read_text()


def test_a_workspace_that_is_not_writable_costs_no_run(node):
    runs = node.directory / ".azureml/runs"
    runs.write_text("in the way")
    done = node.run("run", "--", "echo", "ran", check=0)
    assert done.stdout == "ran\n"
    assert done.stderr.startswith("mountd: warning: the run will not be in `mountd runs list`: ")
    assert f"{runs}: cannot be made, a file is in the way\n" in done.stderr


def test_runs_that_are_not_there(node):
    assert node.run("runs", "list", check=0).stdout == "no runs yet\n"
    assert "there is none" in node.run("runs", "show", "nope", check=3).stderr
    assert "no runs in" in node.run("runs", "show", check=3).stderr


@pytest.mark.parametrize("mode", ["ro_mount", "download"])
@pytest.mark.parametrize(
    ("kind", "path", "said"),
    [
        (
            "uri_folder",
            f"{STORE}/paths/one/file.csv",
            "is a file, and the input's type is uri_folder; write type: uri_file",
        ),
        ("uri_folder", "azureml:one:1", "is a file, and the input's type is uri_folder; write type: uri_file"),
        (
            "uri_file",
            f"{STORE}/paths/train",
            "is a directory, and the input's type is uri_file; write type: uri_folder",
        ),
    ],
)
def test_an_input_that_is_not_of_its_type_is_refused(node, mode, kind, path, said):
    one = define([f"{STORE}/paths/one/file.csv"], environ={}, cwd=node.directory)
    DatasetRegistry(Workspace(node.directory)).register(one, "one")
    text = f"command: touch ran\ninputs: {{x: {{type: {kind}, mode: {mode}, path: '{path}'}}}}\n"
    node.run("run", "-f", job_file(node, text), check=125)
    (run,) = node.runs()
    assert run["error"] == f"input 'x': {path}: {said}"
    assert not Path(run["directory"], "code", "ran").exists()


def test_a_dataset_that_is_passed_on_is_its_id(node):
    registered = DatasetRegistry(Workspace(node.directory)).register(
        define([f"{STORE}/paths/one"], environ={}, cwd=node.directory), "table"
    ).dataset  # fmt: skip
    text = (
        "command: 'echo seen $input $AZUREML_DATASET_ENVIRONMENT_VARS'\ndata:\n  input: {mechanism: direct, "
        "dataLocation: {dataset: {id: 00000000-0000-0000-0000-000000000000, name: %s, version: '1'}}}\n"
    )
    done = node.run("run", "-f", job_file(node, text % "table", "x.runconfig"), check=0)
    assert f"\nseen {registered.id} input:direct\n" in done.stdout
    missing = node.run("run", "-f", job_file(node, text % "nope", "x.runconfig"), check=125)
    assert "input 'input': Cannot find dataset registered with name \"nope\"" in missing.stdout


TABLE = """
type: mltable
paths:
  - file: ./a.csv
  - pattern: parts/*.csv
  - folder: ../train/deep
  - file: azureml://datastores/workspaceblobstore/paths/one/file.csv
transformations: [{read_delimited: {delimiter: ","}}]
"""


def test_an_evaluated_table_shows_the_files_that_it_names(node):
    node.put({"table/MLTable": TABLE, "table/a.csv": "a", "table/parts/1.csv": "1", "table/parts/2.txt": "2"})
    text = (
        "command: cd ${{inputs.m}} && find . -type f | sort && cd ${{inputs.d}} && find . -type f | sort\n"
        f"inputs:\n  m: {{type: mltable, mode: eval_mount, path: {STORE}/paths/table}}\n"
        f"  d: {{type: mltable, mode: eval_download, path: {STORE}/paths/table}}\n"
    )
    done = node.run("run", "-f", job_file(node, text), check=0)
    assert "\n" + "./one/file.csv\n./table/a.csv\n./table/parts/1.csv\n./train/deep/b.txt\n" * 2 in done.stdout
    missing = node.run("run", "-f", job_file(node, text.replace("paths/table", "paths/one")), check=125)
    assert "one/MLTable" in missing.stdout
