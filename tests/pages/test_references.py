"""The code about data references: mounted, downloaded and uploaded around a script."""

import pytest

from tests.pages.cases import case

pytestmark = pytest.mark.fuse

STORES = """
from azureml.core import Workspace, Experiment
ws = Workspace.from_config()
datastore = datastore1 = ws.get_default_datastore()
datastore2 = ds = ws.datastores['workspacefilestore']
compute_target = 'cpu-cluster'
"""
# What is read of a reference's place is a fact of the run: the script prints it.
TRAIN = """
import argparse, os, sys
parser = argparse.ArgumentParser()
parser.add_argument('--data_dir', default='')
args = parser.parse_args()
for name, path in sorted(os.environ.items()):
    if name.startswith('AZUREML_DATAREFERENCE_') and os.path.isdir(path):
        print('in', name[22:], sorted(os.listdir(path)))
if args.data_dir:
    print('argument', sorted(os.listdir(args.data_dir)))
with open('bar.pkl', 'w') as file:
    file.write('model')
"""
SUBMIT = """
run = Experiment(ws, 'references').submit(est)
run.wait_for_completion(show_output=True)
"""


@pytest.fixture
def stores(notebook):
    """Both datastores of the workspace, with files in them."""
    files = notebook.directory / ".azureml" / "storage" / "workspacefilestore"
    for path, text in [
        (notebook.storage / "bar/x.txt", "x"),
        (notebook.storage / "y.txt", "y"),
        (files / "foo/z", "z"),
    ]:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    notebook.write({"code/train.py": TRAIN})
    return notebook


@case("C11")
def test_references(notebook):
    out = notebook.run(
        """
#to mount the full contents in your storage to the compute target
datastore.as_mount()

#to download the contents of the `./bar` directory in your storage to the compute target
datastore.path('./bar').as_download()
""",
        before=STORES,
        after="print(datastore.as_mount()); print(datastore.path('./bar').as_download())",
    )
    assert out.splitlines()[0] == "$AZUREML_DATAREFERENCE_workspaceblobstore"


@case("C12")
def test_a_mounted_path_as_an_argument(stores):
    out = stores.run(
        """
from azureml.train.estimator import Estimator

script_params = {
    '--data_dir': datastore.path('/bar').as_mount()
}

est = Estimator(source_directory='<directory>',
                entry_script='train.py',
                script_params=script_params,
                compute_target=compute_target
                )
""",
        before=STORES,
        after=SUBMIT,
        directory="code",
    )
    assert "\nargument ['x.txt']\n" in out


@case("C12")
def test_a_mounted_datastore_as_an_argument(stores):
    out = stores.run(
        """
from azureml.train.estimator import Estimator

script_params = {
    '--data_dir': ds.as_mount()
}

est = Estimator(source_directory='<directory>',
                entry_script='train.py',
                script_params=script_params,
                compute_target=compute_target
                )
""",
        before=STORES,
        after=SUBMIT,
        directory="code",
    )
    assert "\nargument ['foo']\n" in out
    assert "arguments: ['--data_dir', '$AZUREML_DATAREFERENCE_workspacefilestore']" in out
    assert "Mounted workspacefilestore to " in out


@case("C13")
def test_inputs_downloaded_before_and_an_output_uploaded_after(stores):
    out = stores.run(
        """
from azureml.train.estimator import Estimator

est = Estimator(source_directory='<directory>',
                compute_target=compute_target,
                entry_script='train.py',
                inputs=[datastore1.as_download(), datastore2.path('./foo').as_download(), \
datastore3.as_upload(path_on_compute='./bar.pkl')])
""",
        before=STORES
        + """
from azureml.core import Datastore
from pathlib import Path
from mountd.catalog.datastore import LocalDatastore
Path('third').mkdir()
ws.catalog.add(LocalDatastore(name='third', path=str(Path('third').absolute())))
datastore3 = Datastore.get(ws, 'third')
""",
        after=SUBMIT,
        directory="code",
    )
    assert "\nin workspaceblobstore ['bar', 'y.txt']\n" in out
    assert " ['z']\n" in out
    assert (stores.directory / "third" / "bar.pkl").read_text() == "model"


@case("C14")
def test_where_on_the_compute(stores):
    out = stores.run(
        """
import azureml.data
from azureml.data.data_reference import DataReference

ds.as_mount()
ds.as_download(path_on_compute='<where>')
ds.as_upload(path_on_compute='yourfilename')
""",
        before=STORES,
        after="""
from azureml.train.estimator import Estimator
est = Estimator(source_directory='code', entry_script='train.py', inputs=[ds.as_download(path_on_compute='here')])
assert isinstance(ds.as_mount(), DataReference)
"""
        + SUBMIT,
        where="your path on compute",
    )
    assert "\nin workspacefilestore ['foo']\n" in out
    assert "/workspacefilestore/here" in out
