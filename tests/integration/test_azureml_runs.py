"""Runs of the Python API on this node: what a script is given, what it leaves, and what is said when it fails."""

import re
import subprocess
import sys

import pytest

from mountd.catalog.workspace import Workspace
from tests.support.mounts import COMMAND_S

pytestmark = pytest.mark.fuse

BEFORE = """
import os
from mountd.azureml.core import Dataset, Experiment, Run, ScriptRunConfig, Workspace
from mountd.azureml.data import OutputFileDatasetConfig
from mountd.azureml.exceptions import ActivityFailedException, UserErrorException
ws = Workspace.from_config()
store = ws.get_default_datastore()
experiment = Experiment(ws, 'runs')
"""
TRAIN = """
import os, sys
from mountd.azureml.core import Run

run = Run.get_context()
print('inputs', {name: sorted(os.listdir(path)) for name, path in run.input_datasets.items()})
run.log('loss', 0.5)
run.log('loss', 0.25, step=2)
run.log_row('row', a=1)
run.tag('stage', 'final')
with open(os.path.join(sys.argv[2], 'model.pkl'), 'w') as file:
    file.write(run.experiment.name)
print('workspace', run.experiment.workspace.name, 'MINE' in os.environ)
"""


@pytest.fixture
def run(mountd):
    """Runs a script in a workspace whose datastore holds a letter, and returns what it prints."""
    Workspace.init(mountd.directory)
    letters = mountd.directory / ".azureml" / "storage" / "workspaceblobstore" / "letters"
    letters.mkdir()
    (letters / "a.txt").write_text("a")
    (mountd.directory / "code").mkdir()
    (mountd.directory / "code" / "train.py").write_text(TRAIN)
    (mountd.directory / "code" / "fail.py").write_text("import sys; print('so far'); sys.exit(3)")
    (mountd.directory / "code" / "hang.py").write_text("import time; time.sleep(1000)")

    def do(code):
        done = subprocess.run(
            [sys.executable, "-c", BEFORE + code],
            cwd=mountd.directory,
            env=mountd.environ,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield do
    mountd.wait_gone()


def test_a_run_from_its_inputs_to_its_outputs(run, mountd):
    out = run(
        """
data = Dataset.File.from_files((store, 'letters')).register(ws, 'letters')
output = OutputFileDatasetConfig('model', (store, 'models/{run-id}')).as_upload()
output = output.register_on_complete('model', tags={'a': 'b'})
config = ScriptRunConfig('code', 'train.py', ['--out', output, data.as_named_input('letters').as_mount()])
config.run_config.environment_variables['MINE'] = '1'
run = experiment.submit(config, tags={'who': 'me'})
details = run.wait_for_completion(show_output=True)
print('status', run.get_status(), details['exitCode'])
print('metrics', run.get_metrics(), run.get_metrics('row'))
print('tags', sorted(run.get_tags().items()))
model = Dataset.get_by_name(ws, 'model')
print('model', [open(path).read() for path in model.download()], model.version, model.tags)
print('portal', run.get_portal_url().startswith('file:///'))
"""
    )
    assert "\ninputs {'letters': ['a.txt']}\n" in out
    assert f"\nworkspace {mountd.directory.name} True\n" in out
    assert "\nstatus Completed 0\n" in out
    assert "\nmetrics {'loss': [0.5, 0.25], 'row': {'a': 1}} {'row': {'a': 1}}\n" in out
    assert "\ntags [('stage', 'final'), ('who', 'me')]\n" in out
    assert "\nmodel ['runs'] 1 {'a': 'b'}\n" in out
    assert out.startswith("RunId: runs_")
    assert "\nExecution Summary\n=================\nRunId: runs_" in out
    assert "runs_" in mountd.run("runs", "list", check=0).stdout


def test_an_output_that_is_not_to_be_replaced_is_an_error_and_one_without_files_a_warning(run, mountd):
    out = run(
        """
def train(to, **options):
    output = OutputFileDatasetConfig('o', (store, to)).as_upload(**options)
    return experiment.submit(ScriptRunConfig('code', 'train.py', ['--out', output]))

train('kept').wait_for_completion()
again = train('kept')
details = again.wait_for_completion(show_output=True, raise_on_error=False)
print(details['status'], details['exitCode'], details['error'])
print('replaced', train('kept', overwrite=True).wait_for_completion()['status'])
print('globs', train('other', source_globs='*.pt').wait_for_completion(show_output=True)['status'])
"""
    )
    runs = mountd.directory / ".azureml" / "runs"
    error = (
        "output 'o': azureml://datastores/workspaceblobstore/paths/kept has 1 of its files already, and they are not "
        f"to be replaced: overwrite is off; what the command wrote is still at {runs}/"
    )
    assert f"\nmountd: error: {error}" in out
    assert f"\nFailed 7 {error}" in out
    assert "Uploaded output" not in out
    assert "\nreplaced Completed\n" in out
    assert re.search(r"\nmountd: warning: output 'o': the command left nothing at \S+ that matches \*\.pt\n", out)
    assert "\nglobs Completed\n" in out


def test_a_run_that_fails(mountd, run):
    out = run(
        """
failed = experiment.submit(ScriptRunConfig('code', 'fail.py'))
try:
    failed.wait_for_completion()
except ActivityFailedException as error:
    print(error)
print(failed.wait_for_completion(raise_on_error=False)['exitCode'])
nothing = Dataset.File.from_files((store, 'nothing'))
missing = experiment.submit(ScriptRunConfig('code', 'fail.py', [nothing.as_mount()]))
try:
    missing.wait_for_completion()
except ActivityFailedException as error:
    print(error)
try:
    experiment.submit(ScriptRunConfig('nowhere', 'fail.py'))
except UserErrorException as error:
    print(error.message)
open('code/.amlignore', 'w').write('secret.py\\n')
open('code/secret.py', 'w').close()
for directory, script in (('code', 'missing.py'), ('code', 'secret.py'), (None, 'fail.py')):
    try:
        experiment.submit(ScriptRunConfig(directory, script))
    except UserErrorException as error:
        print(error.message)
"""
    )
    failed, status, missing, nowhere, *scripts = out.splitlines()
    code = mountd.directory / "code"
    assert scripts == [
        f"missing.py script path doesn't exist. The script should be inside the source directory {code}.",
        f"secret.py script path doesn't exist. It is in the source directory {code}, whose ignore file leaves it out.",
        "fail.py script path doesn't exist. The run has no source directory; name one, or write the whole path.",
    ]
    assert mountd.run("runs", "list", check=0).stdout.count("runs_") == 2  # what cannot be submitted leaves nothing
    assert " ended as Failed: " in failed
    assert status == "3"
    assert "input 'input__" in missing
    assert "nothing" in missing
    assert "nowhere" in nowhere


def test_a_run_that_is_canceled(run):
    out = run(
        """
hanging = experiment.submit(ScriptRunConfig('code', 'hang.py'))
hanging.cancel()
print(hanging.wait_for_completion(raise_on_error=False)['status'])
"""
    )
    assert out == "Canceled\n"
