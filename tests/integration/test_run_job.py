"""`mountd run -f` and `mountd runs` as a user runs them, and runs submitted from Python: real mounts and processes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mountd.catalog.dataset import define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.datastore import decode_datastore
from mountd.catalog.packed_listing import read_listing
from mountd.catalog.workspace import Workspace
from mountd.errors import DeadlineError, ExistsError, NotFoundError, SetupError, UsageError
from mountd.run.environment import Mode
from mountd.run.job import JobInput, JobOutput, JobSpec, ProgramCommand, ScriptCommand, ShellCommand
from mountd.run.journal import Journal
from mountd.run.metrics import append_metric
from mountd.run.record import RunRecord, log_path, read_record
from mountd.run.references import reference_input, reference_output
from mountd.run.submit import cancel, submit, wait
from tests.support.mounts import PROGRAM
from tests.support.run_node import PATIENCE_S, STORE

pytestmark = pytest.mark.fuse

TRAIN = """
import json, os, sys
data, out = sys.argv[1:3]
print("DATA", sorted(os.listdir(data)))
os.makedirs(out, exist_ok=True)
with open(os.path.join(out, "model.txt"), "w") as file:
    file.write(open(os.path.join(data, "a.txt")).read())
print("done", file=sys.stderr)
"""


@pytest.fixture
def node(run_node):
    run_node.put({"train/a.txt": "first\n", "train/deep/b.txt": "second\n", "one/file.csv": "1,2\n"})
    source = run_node.directory / "src"
    source.mkdir()
    (source / "train.py").write_text(TRAIN)
    (source / "notes.tmp").write_text("left out")
    (source / ".amlignore").write_text("*.tmp\n")
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
    text = "command: 'trap \"echo asked; exit 9\" TERM; sleep 60 & wait'\nlimits: {timeout: 0.3}\n"
    done = node.run("run", "-f", job_file(node, text), check=9)
    assert "asked\n" in done.stdout
    assert node.runs()[0]["error"] == "the command was ended: its time limit of 0.3 s was over"


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


# Submitted from a program


@pytest.fixture
def start(node, monkeypatch):
    """Return a function that submits a job in the node's workspace and returns the run's directory."""
    for name in list(os.environ):
        if name.startswith(("AZURE", "MOUNTD", "DATASET")):
            monkeypatch.delenv(name)
    workspace = Workspace(node.directory)

    def submit_one(command, **fields):
        job = JobSpec(**{"experiment": "exp", "base": str(node.directory), "command": command, **fields})
        return submit(job, workspace, node.environ)

    return submit_one


def read_log(directory):
    path = log_path(directory)
    return path.read_text() if path.exists() else ""


def data(**fields):
    return JobInput(**{"name": "input", "source": f"{STORE}/paths/train", **fields})


def test_a_submitted_script_with_its_log(node, start):
    directory = start(
        ScriptCommand(script="train.py", arguments=("DatasetConsumptionConfig:input", "out", "0.003")),
        code="src",
        inputs=(data(),),
    )
    pieces = []
    record = wait(directory, on_log=pieces.append, timeout_s=PATIENCE_S)
    text = "".join(pieces)
    assert (record.status, record.exit_code) == ("Completed", 0), text
    assert text == log_path(directory).read_text()
    mount_point = directory / "inputs/input"
    assert "Preparing to call script [ train.py ] with arguments: ['$input', 'out', '0.003']\n" in text
    assert f"calling script [ train.py ] with arguments: ['{mount_point}', 'out', '0.003']\n" in text
    assert (directory / "code/out/model.txt").read_text() == "first\n"
    assert directory.name.startswith("exp_")


SUBMIT_AND_DIE = """
import os, sys
from pathlib import Path
from mountd.catalog.workspace import Workspace
from mountd.run.job import JobSpec, ShellCommand
from mountd.run.submit import submit

root = Path(sys.argv[1])
job = JobSpec(experiment="e", base="/", command=ShellCommand(line=f"cat '{root}/hold'; echo over"))
print(submit(job, Workspace(root)), flush=True)
assert not {"trio", "azure", "obstore", "pyfuse3"} & set(sys.modules)
os.kill(os.getpid(), 9)
"""


def test_a_run_outlives_whoever_submitted_it_and_submitting_is_light(node):
    os.mkfifo(node.directory / "hold")
    done = subprocess.run(
        [sys.executable, "-c", SUBMIT_AND_DIE, str(node.directory)],
        env=node.environ, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    directory = Path(done.stdout.strip())
    assert not read_record(directory).is_over
    (node.directory / "hold").write_text("let go\n")
    assert wait(directory, timeout_s=PATIENCE_S).status == "Completed"
    assert read_log(directory).endswith("let go\nover\n")


def test_a_submitted_run_is_canceled(node, start):
    directory = start(ShellCommand(line="echo up; sleep 60"), inputs=(data(),))
    with pytest.raises(DeadlineError, match="goes on after"):
        wait(directory, timeout_s=0.1)
    node.wait_until(lambda: "\nup\n" in read_log(directory), "the command is up")
    node.run("runs", "cancel", directory.name, check=0)
    record = wait(directory, timeout_s=PATIENCE_S)
    assert (record.status, record.exit_code) == ("Canceled", 143)
    cancel(directory)  # of one that is over: nothing


def test_a_run_canceled_before_it_began(node, start):
    directory = start(ShellCommand(line="sleep 60"))
    cancel(directory)
    assert wait(directory, timeout_s=PATIENCE_S).status == "Canceled"


def test_a_process_that_is_not_the_runs_is_left_alone(node):
    record = RunRecord(id="r", experiment="e", status="Running", created=1.0)
    journal = Journal.create(Workspace(node.directory), record)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        journal.update(pid=bystander.pid)
        with pytest.raises(SetupError, match="cannot be reached from here"):
            cancel(journal.directory)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        journal.close()


def test_a_killed_run_is_failed_and_its_command_ends_before_its_data(node, start):
    line = "trap 'cat \"$data/a.txt\"; echo saved; exit' TERM; echo up; while :; do sleep 0.05; done"
    directory = start(ShellCommand(line=line), inputs=(data(name="data"),))
    node.wait_until(lambda: "\nup\n" in read_log(directory), "the command is up")
    os.kill(read_record(directory).pid, signal.SIGKILL)
    record = wait(directory, timeout_s=PATIENCE_S)
    assert (record.status, record.killed) == ("Failed", True)
    assert re.fullmatch(
        r"interrupted: the process of the run is gone; it was last seen alive at \S+ \S+Z", record.error
    )
    node.wait_until(lambda: node.mounts() == [], "the mount is gone")
    assert read_log(directory).endswith("first\nsaved\n")
    assert (node.runs()[0]["status"], node.runs()[0]["killed"]) == ("Failed", True)
    assert " Failed (killed) " in node.run("runs", "list", check=0).stdout
    node.wait_gone()
    (directory / "inputs/data").rmdir()
    (directory / "inputs").rmdir()


def test_where_inputs_lie_and_what_stays_of_them(node, start, tmp_path):
    outside = tmp_path / "abs/mounted"
    kept = tmp_path / "abs/kept"
    directory = start(
        ProgramCommand(words=("sh", "-c", 'cat "$a/a.txt" "$b/a.txt" "$c/a.txt" "$d/a.txt" "$e"; echo "$b $c $e"')),
        inputs=(
            data(name="a", path_on_compute=str(outside)),
            data(name="b", path_on_compute="in/b"),
            data(name="c", mode=Mode.DOWNLOAD, path_on_compute="in/c"),
            data(name="d", mode=Mode.DOWNLOAD, path_on_compute=str(kept)),
            data(name="e", source=f"{STORE}/paths/one/file.csv"),
            JobInput(name="f", source="some-id", mode=Mode.DIRECT),
        ),
    )
    record = wait(directory, timeout_s=PATIENCE_S)
    log = log_path(directory).read_text()
    assert record.status == "Completed", log
    code = directory / "code"
    assert "first\nfirst\nfirst\nfirst\n1,2\n" in log
    assert f"{code}/in/b {code}/in/c {directory}/inputs/e/file.csv\n" in log
    assert not outside.exists()
    assert (kept / "a.txt").read_text() == "first\n"
    assert sorted(os.listdir(code / "in")) == []
    assert [item.path for item in record.inputs][1] == f"{code}/in/b"


def test_inputs_in_each_others_way(node, start):
    directory = start(
        ShellCommand(line="true"), inputs=(data(name="a", path_on_compute="x"), data(name="b", path_on_compute="x/y"))
    )
    record = wait(directory, timeout_s=PATIENCE_S)
    assert "inputs 'a' and 'b': " in record.error
    assert "are in each other's way" in record.error
    directory = start(ShellCommand(line="true"), inputs=(data(name="a", path_on_compute="."),))
    assert "is where the command runs" in wait(directory, timeout_s=PATIENCE_S).error


def test_data_references_of_the_first_sdk(node, start):
    store = "workspaceblobstore"
    script = 'cat "$AZUREML_DATAREFERENCE_mounted/a.txt" "$1/a.txt" "$root/train/a.txt" "$2/a.txt" > bar.pkl; echo "$1"'
    directory = start(
        ProgramCommand(words=("sh", "-c", script, "sh", "$AZUREML_DATAREFERENCE_down-1", "$AZUREML_DATAREFERENCE_1")),
        inputs=(
            reference_input("mounted", datastore=store, path="./train", mode=Mode.MOUNT),
            reference_input("down-1", datastore=store, path="./train", mode=Mode.DOWNLOAD),
            reference_input("1", datastore=store, path="train", mode=Mode.MOUNT),
            reference_input("root", datastore=store, path=None, mode=Mode.DOWNLOAD),
        ),
        outputs=(reference_output("up", datastore=store, path="/sent", path_on_compute="./bar.pkl"),),
    )
    record = wait(directory, timeout_s=PATIENCE_S)
    log = log_path(directory).read_text()
    assert record.status == "Completed", log
    assert (node.store / "sent/bar.pkl").read_text() == "first\n" * 4
    assert f"\n{directory}/code/{store}/train\n" in log


def test_a_single_file_that_is_downloaded_lies_at_its_own_path(node, start):
    store = "workspaceblobstore"

    def download(name, path, **fields):
        return reference_input(name, datastore=store, path=path, mode=Mode.DOWNLOAD, **fields)

    directory = start(
        ShellCommand(
            line=f'find {store} in -type f | sort; cat {store}/one/file.csv "$again"; echo "$one" "$again" "$put"'
        ),
        inputs=(
            download("one", "one/file.csv"),
            download("two", "train/a.txt"),
            download("again", "./one/file.csv"),
            download("put", "one/file.csv", path_on_compute="../in"),
        ),
    )
    record = wait(directory, timeout_s=PATIENCE_S)
    log = read_log(directory)
    assert record.status == "Completed", log
    code = f"{directory}/code"
    assert f"\nin/file.csv\n{store}/one/file.csv\n{store}/train/a.txt\n1,2\n1,2\n" in log
    assert f"\n{code}/{store}/one/file.csv {directory}/inputs/again/file.csv {code}/in/file.csv\n" in log
    assert f"Downloaded one to {code}/{store}/one/file.csv as single file." in log
    assert not [name for _, _, names in os.walk(code) for name in names]


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


def test_code_travels_through_a_datastore(node, start):
    directory = start(
        ScriptCommand(script="train.py", arguments=("$input", "outputs")),
        code="src", code_datastore="workspacefilestore", inputs=(data(mode=Mode.DOWNLOAD),),
    )  # fmt: skip
    record = wait(directory, timeout_s=PATIENCE_S)
    assert record.status == "Completed", log_path(directory).read_text()
    store = node.directory / ".azureml/storage/workspacefilestore"
    assert sorted(os.listdir(store / "azureml" / directory.name)) == [".amlignore", "train.py"]
    assert not (directory / "snapshot").exists()
    assert (directory / "code/outputs/model.txt").read_text() == "first\n"


def test_code_in_a_datastore(node, start):
    node.put({"code/say.py": "print('from the store')"})
    directory = start(ScriptCommand(script="say.py"), code=f"{STORE}/paths/code")
    assert wait(directory, timeout_s=PATIENCE_S).status == "Completed"
    assert "\nfrom the store\n" in log_path(directory).read_text()


def test_outputs_by_pattern_and_without_a_target(node, start):
    script = 'mkdir -p "$1/deep"; echo m > "$1/deep/m.pkl"; echo n > "$1/n.txt"; echo r > "$2"'
    directory = start(
        ProgramCommand(words=("sh", "-c", script, "sh", "$models", "$report")),
        outputs=(
            JobOutput(name="models", globs=("*.pkl",)),
            JobOutput(name="report", target=f"{STORE}/paths/r/{{run-id}}/report.html", is_file=True),
        ),
    )
    record = wait(directory, timeout_s=PATIENCE_S)
    assert record.status == "Completed", log_path(directory).read_text()
    sent = node.store / "azureml" / directory.name
    assert [str(path.relative_to(sent)) for path in sent.rglob("*") if path.is_file()] == ["models/deep/m.pkl"]
    assert (node.store / "r" / directory.name / "report.html").read_text() == "r\n"


def test_an_output_becomes_a_dataset_and_a_dataset_an_input(node, start):
    first = start(
        ProgramCommand(words=("sh", "-c", 'echo weights > "$1/w.bin"', "sh", "$model")),
        outputs=(JobOutput(name="model", register_as="letters", tags={"k": "v"}),),
    )
    assert wait(first, timeout_s=PATIENCE_S).status == "Completed", read_log(first)
    assert "\nRegistered output 'model' as azureml:letters:1.\n" in read_log(first)
    registry = DatasetRegistry(Workspace(node.directory))
    assert list(read_listing(registry.get("letters").listing).paths()) == ["w.bin"]
    unnamed = registry.save(
        define([f"{STORE}/paths/train/**/*.txt", f"{STORE}/paths/one/*.csv"], environ={}, cwd=node.directory)
    )
    second = start(
        ProgramCommand(words=("sh", "-c", 'cat "$a/w.bin" "$b/w.bin"; cd "$c" && find . -type f | sort')),
        inputs=(
            data(name="a", source="azureml:letters:1"),
            data(name="b", source="azureml:letters", mode=Mode.DOWNLOAD),
            data(name="c", source=f"azureml:{unnamed.id}"),
        ),
    )
    assert wait(second, timeout_s=PATIENCE_S).status == "Completed", read_log(second)
    assert "\nweights\nweights\n./one/file.csv\n./train/a.txt\n./train/deep/b.txt\n" in read_log(second)


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


def test_an_output_that_cannot_be_registered(node, start):
    (node.directory / ".azureml/data").write_text("in the way")
    output = JobOutput(name="o", register_as="model")
    directory = start(ShellCommand(line="echo x > ${{outputs.o}}/x"), outputs=(output,))
    record = wait(directory, timeout_s=PATIENCE_S)
    assert (record.status, record.exit_code) == ("Failed", 7)
    assert record.error.startswith("output 'o': cannot be registered: ")


def test_a_command_finds_its_run_and_its_metrics_are_shown(node, start):
    script = (
        "import os; from pathlib import Path; from mountd.run.metrics import append_metric, append_tag\n"
        "run = Path(os.environ['MOUNTD_RUN_DIRECTORY']); assert run.name == os.environ['MOUNTD_RUN_ID']\n"
        "[append_metric(run, 'loss', 1 / step, step=step) for step in (1, 2)]; append_tag(run, 'stage', 'final')\n"
    )
    directory = start(ProgramCommand(words=(sys.executable, "-c", script)), tags={"stage": "first", "who": "me"})
    assert wait(directory, timeout_s=PATIENCE_S).status == "Completed", log_path(directory).read_text()
    (run,) = node.runs()
    assert [metric["value"] for metric in run["metrics"]] == [1.0, 0.5]
    assert run["tags"] == {"stage": "final", "who": "me"}
    shown = node.run("runs", "show", check=0).stdout
    assert "metric loss" in shown
    assert "0.5 (the last of 2)" in shown
    append_metric(directory, "late", 1)


def test_bad_input_is_an_error_at_once_and_no_run(node, start):
    with pytest.raises(NotFoundError, match="nowhere: there is no such file"):
        start(ShellCommand(line="true"), code="nowhere")
    with pytest.raises(NotFoundError, match="source_directory_data_store: datastore nowhere: there is none of that"):
        start(ShellCommand(line="true"), code="src", code_datastore="nowhere")
    share = {"type": "azure_file", "name": "share", "account_name": "acct", "file_share_name": "share"}
    Workspace(node.directory).add(decode_datastore(share, "share"))
    with pytest.raises(UsageError, match="source_directory_data_store: datastore share: this version cannot open"):
        start(ShellCommand(line="true"), code="src", code_datastore="share")
    with pytest.raises(UsageError, match=r"input 'a': the path on the compute '\.\./\.\./x' leads out of the run's"):
        start(ShellCommand(line="true"), inputs=(data(name="a", path_on_compute="../../x"),))
    first = start(ShellCommand(line="true"), name="mine")
    with pytest.raises(ExistsError, match="run mine: exists"):
        start(ShellCommand(line="true"), name="mine")
    assert wait(first, timeout_s=PATIENCE_S).status == "Completed"
    assert [run["id"] for run in node.runs()] == ["mine"]


def test_secrets_of_a_job_are_in_no_file_and_in_no_command_line(node, start):
    secret = "c2VjcmV0LXNlY3JldA"
    directory = start(
        ShellCommand(line="echo ${{inputs.f}} > seen"),
        inputs=(JobInput(name="f", source=f"https://h/x?sig={secret}", mode=Mode.DIRECT),),
        environment={"PASSWORD": secret},
    )
    assert wait(directory, timeout_s=PATIENCE_S).status == "Completed"
    kept = [path for path in directory.rglob("*") if path.is_file() and path.name != "seen"]
    assert all(secret not in path.read_text() for path in kept)
