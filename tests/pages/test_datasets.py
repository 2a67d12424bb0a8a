"""The code about datasets: tables as ids, files mounted into scripts and notebooks."""

import gzip
import struct

import pytest

from tests.pages.cases import case

pytestmark = pytest.mark.fuse

CSV = "PassengerId,Name,Age,Cabin\n1,Braund,22,\n2,Cumings,38,C85\n3,Heikkinen,,NaN\n"
# What the page takes for granted: an experiment, a folder of scripts, a compute target, an environment.
GIVEN = """
from azureml.core import Workspace, Experiment, Environment
workspace = ws = Workspace.from_config()
experiment = Experiment(workspace=ws, name='train-with-datasets')
script_folder, compute_target, myenv = 'scripts', 'cpu-cluster', Environment('myenv')
"""
TITANIC = """
from azureml.core.dataset import Dataset

web_path ='<server>/demo/Titanic.csv'
titanic_ds = Dataset.Tabular.from_delimited_files(path=web_path)
"""
TRAIN_TITANIC = """
import argparse
from azureml.core import Dataset, Run

parser = argparse.ArgumentParser()
parser.add_argument("--input-data", type=str)
args = parser.parse_args()

run = Run.get_context()
ws = run.experiment.workspace

# get the input dataset by ID
dataset = Dataset.get_by_id(ws, id=args.input_data)

# load the TabularDataset to pandas DataFrame
df = dataset.to_pandas_dataframe()
"""
SHOW = "print(df.isna().sum().to_dict(), df['Age'].sum(), list(run.input_datasets))\n"
MNIST = """
from azureml.core.dataset import Dataset

web_paths = [
            '<server>/exdb/mnist/train-images-idx3-ubyte.gz',
            '<server>/exdb/mnist/train-labels-idx1-ubyte.gz',
            '<server>/exdb/mnist/t10k-images-idx3-ubyte.gz',
            '<server>/exdb/mnist/t10k-labels-idx1-ubyte.gz'
            ]
mnist_ds = Dataset.File.from_files(path = web_paths)
"""
TRAIN_MNIST = """
import argparse
import os
import numpy as np
import glob

from utils import load_data

# retrieve the 2 arguments configured through `arguments` in the ScriptRunConfig
parser = argparse.ArgumentParser()
parser.add_argument('--data-folder', type=str, dest='data_folder', help='data folder mounting point')
parser.add_argument('--regularization', type=float, dest='reg', default=0.01, help='regularization rate')
args = parser.parse_args()

data_folder = args.data_folder
print('Data folder:', data_folder)

# get the file paths on the compute
X_train_path = glob.glob(os.path.join(data_folder, '**/train-images-idx3-ubyte.gz'), recursive=True)[0]
X_test_path = glob.glob(os.path.join(data_folder, '**/t10k-images-idx3-ubyte.gz'), recursive=True)[0]
y_train_path = glob.glob(os.path.join(data_folder, '**/train-labels-idx1-ubyte.gz'), recursive=True)[0]
y_test = glob.glob(os.path.join(data_folder, '**/t10k-labels-idx1-ubyte.gz'), recursive=True)[0]

# load train and test set into numpy arrays
X_train = load_data(X_train_path, False) / 255.0
X_test = load_data(X_test_path, False) / 255.0
y_train = load_data(y_train_path, True).reshape(-1)
y_test = load_data(y_test, True).reshape(-1)
"""
# The page's script imports this module and does not show it.
UTILS = '''
import gzip, struct
import numpy as np

def load_data(path, label):
    """Read a file of MNIST's own format."""
    with gzip.open(path) as file:
        _, count = struct.unpack('>ii', file.read(8))
        if label:
            return np.frombuffer(file.read(count), dtype=np.uint8).reshape(count, 1)
        rows, columns = struct.unpack('>ii', file.read(8))
        return np.frombuffer(file.read(), dtype=np.uint8).reshape(count, rows * columns)
'''
SHOW_MNIST = "print('shapes', X_train.shape, X_test.shape, int(y_train.sum()), int(y_test.sum()), args.reg)\n"


@pytest.fixture
def titanic(web):
    """Passengers, on a web server."""
    (web.root / "demo").mkdir()
    (web.root / "demo" / "Titanic.csv").write_text(CSV)
    return web.url


@pytest.fixture
def mnist(web):
    """The four files of MNIST, in its own format and small, on a web server."""
    place = web.root / "exdb" / "mnist"
    place.mkdir(parents=True)
    for name, count in (("train", 6), ("t10k", 2)):
        images = struct.pack(">iiii", 2051, count, 28, 28) + bytes(count * 28 * 28)
        labels = struct.pack(">ii", 2049, count) + bytes(range(count))
        (place / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (place / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return web.url


@case("C15", "C16", "C17", "C23")
def test_a_table_as_an_argument(notebook, titanic):
    notebook.write({"scripts/train_titanic.py": TRAIN_TITANIC + SHOW})
    out = notebook.run(
        """
from azureml.core import ScriptRunConfig

src = ScriptRunConfig(source_directory=script_folder,
                      script='train_titanic.py',
                      # pass dataset as an input with friendly name 'titanic'
                      arguments=['--input-data', titanic_ds.as_named_input('titanic')],
                      compute_target=compute_target,
                      environment=myenv)

# workspaceblobstore is the default blob storage
src.run_config.source_directory_data_store = "workspaceblobstore"

# Submit the run configuration for your training run
run = experiment.submit(src)
run.wait_for_completion(show_output=True)
""",
        before=GIVEN + TITANIC.replace("<server>", titanic),
    )
    # empty, blank and NaN are null
    assert "{'PassengerId': 0, 'Name': 0, 'Age': 1, 'Cabin': 2} 60.0 ['titanic']" in out
    assert "arguments: ['--input-data', '$titanic']" in out
    assert list((notebook.storage / "azureml").rglob("train_titanic.py")), "the code went by way of the datastore"


@case("C22")
def test_a_registered_table(notebook, titanic):
    notebook.run(TITANIC, before=GIVEN, after="titanic_ds.register(ws, name='titanic_ds')", server=titanic)
    train = """
from azureml.core import Dataset, Run

run = Run.get_context()
workspace = run.experiment.workspace

dataset_name = 'titanic_ds'

# Get a dataset by name
titanic_ds = Dataset.get_by_name(workspace=workspace, name=dataset_name)

# Load a TabularDataset into pandas DataFrame
df = titanic_ds.to_pandas_dataframe()
"""
    by_hand = notebook.run(train, after="print(titanic_ds.version, len(df))")
    assert by_hand == "1 3\n"
    notebook.write({"scripts/train.py": train + "print('rows', len(df))\n"})
    in_a_run = notebook.run(
        "run = experiment.submit(ScriptRunConfig(script_folder, 'train.py'))",
        before=GIVEN + "from azureml.core import ScriptRunConfig",
        after="run.wait_for_completion(show_output=True)",
    )
    assert "\nrows 3\n" in in_a_run


@case("C18", "C19", "C20")
def test_files_mounted_from_the_web(notebook, mnist):
    notebook.write({"scripts/train_mnist.py": TRAIN_MNIST + SHOW_MNIST, "scripts/utils.py": UTILS})
    out = notebook.run(
        """
from azureml.core import ScriptRunConfig

src = ScriptRunConfig(source_directory=script_folder,
                      script='train_mnist.py',
                      # the dataset will be mounted on the remote compute and the mounted path passed as an argument to the script
                      arguments=['--data-folder', mnist_ds.as_mount(), '--regularization', 0.5],
                      compute_target=compute_target,
                      environment=myenv)

# Submit the run configuration for your training run
run = experiment.submit(src)
run.wait_for_completion(show_output=True)
""",  # noqa: E501 - the page's own line
        before=GIVEN + MNIST.replace("<server>", mnist),
    )
    assert "\nshapes (6, 784) (2, 784) 15 1 0.5\n" in out
    assert "Mounting input__" in out


@case("C21")
def test_files_mounted_in_a_notebook(notebook, mnist):
    out = notebook.run(
        """
import tempfile
mounted_path = tempfile.mkdtemp()

# mount dataset onto the mounted_path of a Linux-based compute
mount_context = dataset.mount(mounted_path)

mount_context.start()

import os
print(os.listdir(mounted_path))
print (mounted_path)
""",
        before=MNIST.replace("<server>", mnist) + "dataset = mnist_ds\n",
    )
    names, path = out.splitlines()
    assert "'train-images-idx3-ubyte.gz'" in names
    assert path.startswith("/")
    notebook.mountd.wait_gone()  # it was never stopped: it ended with its interpreter


@case("C24")
def test_a_mount_at_a_place_of_ones_own(notebook):
    notebook.write({"scripts/list.py": "import os, sys; print('found', sys.argv[2], os.listdir(sys.argv[2]))"})
    place = notebook.storage / "dogs" / "rex.jpg"
    place.parent.mkdir()
    place.write_bytes(b"jpg")
    out = notebook.run(
        """
# Note the leading / in '/tmp/dataset'
script_params = {
    '--data-folder': dset.as_named_input('dogscats_train').as_mount('<mount point>'),
}
""",
        before=GIVEN
        + """
from azureml.core import Dataset
dset = Dataset.File.from_files((ws.get_default_datastore(), 'dogs'))
""",
        after="""
from azureml.train.estimator import Estimator
est = Estimator(source_directory=script_folder, entry_script='list.py', script_params=script_params)
experiment.submit(est).wait_for_completion(show_output=True)
""",
        **{"mount point": notebook.directory / "dataset"},
    )
    assert f"\nfound {notebook.directory}/dataset ['rex.jpg']\n" in out
