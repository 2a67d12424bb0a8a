"""Mount contexts of the Python API in real interpreters: used, left behind, killed, forked."""

import os
import signal
import subprocess
import sys

import pytest

from mountd.catalog.workspace import Workspace
from tests.support.mounts import COMMAND_S, mounted_below

pytestmark = pytest.mark.fuse

BEFORE = """
import os, sys
from mountd.azureml.core import Dataset, Workspace
ws = Workspace.from_config()
dataset = Dataset.File.from_files((ws.get_default_datastore(), 'letters'))
"""


@pytest.fixture
def script(mountd):
    """Starts a script in a workspace whose datastore holds two letters."""
    Workspace.init(mountd.directory)
    letters = mountd.directory / ".azureml" / "storage" / "workspaceblobstore" / "letters"
    letters.mkdir()
    for letter in "ab":
        (letters / f"{letter}.txt").write_text(letter)

    def start(code):
        return subprocess.Popen(
            [sys.executable, "-c", BEFORE + code],
            cwd=mountd.directory,
            env={**mountd.environ, "TMPDIR": str(mountd.directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def outcome(process):
    out, said = process.communicate(timeout=COMMAND_S)
    assert process.returncode == 0, said
    return out


def test_a_context(script, mountd):
    out = outcome(
        script(
            """
with dataset.mount() as context:
    print(sorted(os.listdir(context.mount_point)), open(context.mount_point + '/a.txt').read())
print(os.path.exists(context.mount_point))
context = dataset.mount('here')
context.start()
context.start()  # it is
file = open('here/b.txt')
context.stop()  # in use: what is open is read to its end
print(file.read(), os.listdir('here'), context.mount_point)
file.close()
context.start()  # and again
context.stop()
context.stop()
"""
        )
    )
    assert out.splitlines() == ["['a.txt', 'b.txt'] a", "False", f"b [] {mountd.directory}/here"]
    mountd.wait_gone()


def test_what_cannot_be_a_mount_point(script, mountd):
    out = outcome(
        script(
            """
from mountd.azureml.exceptions import UserErrorException
def said(call):
    try:
        call()
    except UserErrorException as error:
        print(error.message)
os.makedirs('full/x')
said(lambda: dataset.mount('full'))
open('file', 'w').close()
said(lambda: dataset.mount('file'))
context = dataset.mount('taken')
with context:
    said(lambda: dataset.mount('taken'))
said(lambda: dataset.mount('x', colour='red'))
"""
        )
    )
    full, file, taken, option = out.splitlines()
    assert full.startswith("Dataset mount point must be empty, mounting dataset to non-empty folder is not supported.")
    assert file == f"{mountd.directory}/file is no directory; a dataset is mounted on an empty one."
    where = f"{mountd.directory}/taken"
    assert taken == f'"{where}" is already mounted. Run `sudo umount "{where}"` to unmount it.'
    assert option == "mount() of mountd takes no colour."


@pytest.mark.parametrize("end", ["exit", "exception", "kill"])
def test_nothing_is_left_of_an_interpreter(script, mountd, end):
    process = script(
        """
context = dataset.mount('here')
context.start()
file = open('here/a.txt')
if os.fork() == 0:
    sys.exit()  # a fork that ends as an interpreter does leaves the mount alone
os.wait()
print(os.listdir('here'), flush=True)
input()
if sys.stdin.readline() == 'exception':
    raise SystemExit(0)
"""
    )
    assert process.stdout.readline() == "['a.txt', 'b.txt']\n"
    if end == "kill":
        process.send_signal(signal.SIGKILL)
        process.communicate()
    else:
        process.communicate(f"\n{end}", timeout=COMMAND_S)
    mountd.wait_gone()
    assert mounted_below(mountd.directory) == []
    assert os.listdir(mountd.directory / "here") == []
