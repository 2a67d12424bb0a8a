"""The record of a run: whole at any time, and true also when its process was killed."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading

import pytest

from mountd.catalog.workspace import Workspace
from mountd.errors import ExistsError, NoRoomError, NotFoundError, UsageError
from mountd.run.journal import Journal, make_identifier
from mountd.run.metrics import append_metric, append_tag, as_json, latest, read_metrics, read_tags
from mountd.run.record import DataRecord, RunRecord, list_records, log_path, read_record, run_directory


@pytest.fixture
def workspace(tmp_path):
    return Workspace.init(tmp_path)


def record(identifier="r1", **fields):
    return RunRecord(**{"id": identifier, "experiment": "e", "status": "NotStarted", "created": 1.0, **fields})


def test_a_record_is_read_back_and_nobody_else_may_read_it(workspace):
    journal = Journal.create(workspace, record(tags={"a": "b"}))
    journal.update(status="Running", pid=os.getpid())
    found = read_record(journal.directory)
    assert (found.status, found.tags, found.host != "") == ("Running", {"a": "b"}, True)
    journal.end(status="Completed", exit_code=0)
    found = read_record(journal.directory)
    assert (found.status, found.exit_code, found.pid, found.is_over) == ("Completed", 0, None, True)
    assert [oct(path.stat().st_mode & 0o777) for path in sorted(journal.directory.iterdir())] == [
        "0o600",
        "0o600",
        "0o700",
    ]
    assert run_directory(workspace, "r1") == journal.directory


def test_a_name_is_used_once(workspace):
    Journal.create(workspace, record()).close()
    with pytest.raises(ExistsError, match="run r1: exists"):
        Journal.create(workspace, record())


def test_what_is_not_utf_8_is_shown_with_backslashes(workspace):
    odd = os.fsdecode(b"bad\xff")
    journal = Journal.create(workspace, record(command=odd, inputs=(DataRecord(name="a", mode="mount", place=odd),)))
    journal.update(status="Running", tags={odd: odd})
    found = read_record(journal.directory)
    assert (found.command, found.inputs[0].place) == ("bad\\udcff", "bad\\udcff")
    assert found.tags == {"bad\\udcff": "bad\\udcff"}
    journal.close()


def test_a_record_that_cannot_be_written_leaves_no_run(workspace, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mountd.run.journal.write_file", full)
    with pytest.raises(NoRoomError, match="r1: No space left on device"):
        Journal.create(workspace, record())
    assert os.listdir(workspace.directory / "runs") == []


def test_a_run_whose_process_was_killed_is_shown_as_failed(workspace):
    code = (
        "import sys, pathlib\n"
        "from mountd.catalog.workspace import Workspace\n"
        "from mountd.run.journal import Journal\n"
        "from mountd.run.record import RunRecord\n"
        "record = RunRecord(id='k', experiment='e', status='Running', created=1.0)\n"
        "journal = Journal.create(Workspace(pathlib.Path(sys.argv[1])), record)\n"
        "print('up', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(workspace.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    directory = run_directory(workspace, "k")
    assert read_record(directory).status == "Running"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = read_record(directory)
    assert (found.status, found.is_over) == ("Failed", True)
    assert found.error.startswith("interrupted")
    assert found.killed
    os.utime(directory / ".alive", (0, 2e9))  # as the run's process does every few seconds
    found = read_record(directory)
    assert found.ended == 2e9
    assert found.error.endswith("; it was last seen alive at 2033-05-18 03:33:20Z")


def test_the_newest_run_comes_first_and_a_damaged_record_hides_no_other(workspace):
    for number in range(3):
        Journal.create(workspace, record(f"r{number}", created=float(number), status="Completed")).close()
    runs = workspace.directory / "runs"
    (runs / "r1/run.json").write_text("{")
    (runs / "empty").mkdir()
    (runs / "file").write_text("")
    found = list_records(workspace)
    assert {item.id for item in found} == {"r0", "r1", "r2"}
    assert [item.id for item in found if item.id != "r1"] == ["r2", "r0"]
    with pytest.raises(UsageError, match="is not the record of a run"):
        read_record(runs / "r1")


@pytest.mark.parametrize("name", ["nowhere", "../runs/r1", "", ".", "a/b"])
def test_a_run_that_is_not_there(workspace, name):
    Journal.create(workspace, record()).close()
    with pytest.raises(NotFoundError, match="there is none in"):
        run_directory(workspace, name)


def test_no_workspace_runs_yet(workspace):
    assert list_records(workspace) == []


def test_a_record_that_cannot_be_written_any_more_is_said_once(workspace):
    journal = Journal.create(workspace, record())
    journal.say("a line with sig=abcdefgh")
    (journal.directory / "run.json").unlink()
    (journal.directory / "run.json").mkdir()
    (journal.directory / "run.json/x").mkdir()
    journal.update(status="Running")
    journal.update(status="Finalizing")
    assert journal.record.status == "Finalizing"
    lines = log_path(journal.directory).read_text().splitlines()
    assert lines[0] == "a line with sig=***"
    assert len(lines) == 2
    assert "the record of the run cannot be written" in lines[1]
    assert journal.trouble is not None
    journal.close()


def test_identifiers_are_azure_mls():
    experiment, seconds, part = make_identifier("my_exp").rsplit("_", 2)
    assert (experiment, seconds.isdigit(), len(part)) == ("my_exp", True, 8)


def test_metrics_are_kept_in_order_and_a_cut_line_is_skipped(tmp_path):
    append_metric(tmp_path, "loss", 0.5, step=1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"name": "loss", "val\n')
    append_metric(tmp_path, "loss", 0.25, step=2)
    append_metric(tmp_path, "table", {"x": [1, 2]}, kind="table")
    found = read_metrics(tmp_path)
    assert [(item.name, item.value, item.step, item.kind) for item in found] == [
        ("loss", 0.5, 1, "scalar"), ("loss", 0.25, 2, "scalar"), ("table", {"x": [1, 2]}, None, "table")
    ]  # fmt: skip
    assert {name: item.value for name, item in latest(found).items()} == {"loss": 0.25, "table": {"x": [1, 2]}}
    with pytest.raises(UsageError, match="metric 'bad'"):
        append_metric(tmp_path, "bad", object())
    assert read_metrics(tmp_path / "none") == []


def test_numbers_that_are_not_finite_are_kept(tmp_path):
    append_metric(tmp_path, "loss", math.nan)
    append_metric(tmp_path, "row", {"a": [math.inf, (-math.inf, 1.5)]}, kind="row")
    loss, row = (metric.value for metric in read_metrics(tmp_path))
    assert math.isnan(loss)
    assert row == {"a": [math.inf, [-math.inf, 1.5]]}
    kept = [json.loads(line)["value"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert kept == ["NaN", {"a": ["Infinity", ["-Infinity", 1.5]]}]
    assert [metric["value"] for metric in as_json(read_metrics(tmp_path))] == kept


def test_many_write_metrics_at_once(tmp_path):
    def write(name):
        for step in range(50):
            append_metric(tmp_path, name, "x" * 500, step=step)

    threads = [threading.Thread(target=write, args=(f"m{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_metrics(tmp_path)) == 200


def test_the_last_value_of_a_tag_counts(tmp_path):
    append_tag(tmp_path, "stage", "one")
    append_tag(tmp_path, "stage", "two")
    assert read_tags(tmp_path) == {"stage": "two"}
