"""`mountd run` and `mountd runs` as a user without privileges."""

import json
import os

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")]

STORE = "azureml://datastores/workspaceblobstore"
JOB = f"""
command: cat ${{{{inputs.data}}}}/a.txt > ${{{{outputs.o}}}}/copy && id -u
inputs: {{data: {{path: {STORE}/paths/in}}}}
outputs: {{o: {{mode: upload, path: {STORE}/paths/out}}}}
"""


@pytest.fixture
def worker(user):
    """The user, with a workspace of their own and data in it."""
    user.run("workspace", "init")
    user.run("upload", "source", f"{STORE}/paths/in")
    return user


def test_a_run_with_everything_around_it(worker):
    said = worker.run(
        "run",
        *(
            "--mount",
            f"m={STORE}/paths/in",
            "--download",
            f"d={STORE}/paths/in",
            "--upload",
            f"u=./out={STORE}/paths/up",
        ),
        *("--", "sh", "-c", 'mkdir out; cat "$m/a.txt" "$d/a.txt" > out/both; id -u'),
    ).stdout
    assert said == "65534\n"
    assert worker.shell("cat .azureml/storage/workspaceblobstore/up/both") == "hello\nhello\n"
    assert worker.mounts() == []
    (run,) = json.loads(worker.run("runs", "list", "--json").stdout)
    assert (run["status"], run["exit_code"]) == ("Completed", 0)
    assert worker.shell(f"ls {run['directory']}") == "run.json\nuser_logs\n"


def test_a_job(worker):
    worker.shell(f"cat > job.yml <<'END'{JOB}END")
    assert "\n65534\n" in worker.run("run", "-f", "job.yml").stdout
    assert worker.shell("cat .azureml/storage/workspaceblobstore/out/copy") == "hello\n"
    assert worker.mounts() == []


def test_a_workspace_of_the_administrators_keeps_no_record_and_costs_no_run(worker):
    theirs = worker.directory / ".azureml"
    for path in [theirs, *theirs.rglob("*")]:
        os.chown(path, 0, 0)
        path.chmod(0o755 if path.is_dir() else 0o644)
    said = worker.run("run", "--mount", f"m={STORE}/paths/in", "--", "sh", "-c", 'cat "$m/a.txt"').stdout
    assert said == "hello\n"
    assert not (theirs / "runs").exists()
    worker.shell("echo 'command: echo never' > job.yml")
    assert "permission to write it is missing" in worker.run("run", "-f", "job.yml", check=4).stderr
