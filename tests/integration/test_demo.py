"""`scripts/demo`: the main job in one command, and nothing left of it, also after Ctrl-C."""

import os
import signal
import subprocess

import pytest

from tests.support.mounts import ROOT

pytestmark = pytest.mark.fuse


@pytest.fixture
def demo(mountd):
    temporary = mountd.directory / "tmp"
    temporary.mkdir()

    def start(*arguments):
        return subprocess.Popen(
            [ROOT / "scripts/demo", *arguments],
            env={**mountd.environ, "TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    yield start
    assert mountd.mounts() == []
    mountd.wait_gone()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("options", [[], pytest.param(["--azurite"], marks=pytest.mark.azurite)])
def test_the_demo_shows_the_main_job(demo, options):
    process = demo(*options)
    said, _ = process.communicate(timeout=110)
    assert process.returncode == 0, said
    assert "saw         301 files, 130,452 bytes: labels.csv, test, train" in said
    assert "accuracy    54 of 60 unseen pictures" in said
    assert "After variable expansion, calling script [ ./job ]" in said
    assert "inputs/workspaceblobstore  ready" in said  # status, while it was mounted
    assert said.endswith("Nothing is mounted and nothing runs.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["Mounting workspaceblobstore to", "epoch 1 "])
def test_the_demo_can_be_interrupted(demo, number, moment):
    process = demo()
    for line in process.stdout:
        if line.startswith(moment):
            break
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said


@pytest.mark.azurite
def test_the_whole_group_may_be_interrupted_as_by_ctrl_c(demo):
    process = demo("--azurite")
    for line in process.stdout:
        if line.startswith("epoch 1 "):
            break
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said


def test_an_unknown_option_is_refused(demo):
    process = demo("--nope")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "unknown option --nope" in said
