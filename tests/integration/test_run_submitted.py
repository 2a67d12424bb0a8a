"""Runs submitted from Python: where their inputs lie, what becomes of their outputs, and how they end."""

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
from tests.support.run_node import PATIENCE_S, STORE, put_sources

pytestmark = pytest.mark.fuse


@pytest.fixture
def node(run_node):
    put_sources(run_node)
    return run_node


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
    # A second, for the run learns what its command's process group is a moment after the command began.
    line = "trap 'cat \"$data/a.txt\"; echo saved; exit' TERM; sleep 1; echo up; while :; do sleep 0.05; done"
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
