"""Importing the API is light, and what is not in it says so."""

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mountd.azureml.core
from mountd.azureml.core import Dataset, Datastore, Workspace
from mountd.azureml.core.runconfig import RunConfiguration
from mountd.azureml.data import FileDataset, OutputFileDatasetConfig, TabularDataset
from mountd.azureml.data.azure_storage_datastore import AzureBlobDatastore, AzureFileDatastore
from mountd.azureml.data.data_reference import DataReference
from mountd.azureml.data.datapath import DataPath
from mountd.azureml.data.dataset_consumption_config import DatasetConsumptionConfig
from mountd.azureml.exceptions import NotPartOfMountdError, UserErrorException
from mountd.azureml.train.estimator import Estimator

HEAVY = (
    "trio",
    "azure",
    "obstore",
    "pandas",
    "pyarrow",
    "numpy",
    "pyfuse3",
    "lxml",
    "prometheus_client",
    "rich",
    "typer",
)
PACKAGE = Path(mountd.azureml.__file__).parent
PAGE = PACKAGE.parents[1] / "docs" / "PYTHON.md"
# All but the one that reads tables: its import is the first look for pandas.
MODULES = sorted(
    "mountd.azureml" + "".join(f".{part}" for part in file.relative_to(PACKAGE).with_suffix("").parts)
    for file in PACKAGE.rglob("*.py")
    if file.name not in {"__init__.py", "tables.py"}
)


def test_importing_it_loads_nothing_heavy():
    code = f"import sys, {', '.join(MODULES)}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.split() == []
    assert len(MODULES) > 25


LISTED = re.findall(r"^\| (`.*`) \| (`[a-z].*`|`File`.*) \|$", PAGE.read_text().partition("| of |")[2], re.MULTILINE)
OWN = {"catalog", "from_directory", "definition", "location", "saved_in", "check", "unnamed"}
CLASSES = {
    **{name: getattr(mountd.azureml.core, name) for name in mountd.azureml.core.__all__},
    "AzureBlobDatastore": AzureBlobDatastore,
    "AzureFileDatastore": AzureFileDatastore,
    "DataReference": DataReference,
    "Dataset.File": Dataset.File,
    "Dataset.Tabular": Dataset.Tabular,
    "DatasetConsumptionConfig": DatasetConsumptionConfig,
    "Estimator": Estimator,
    "FileDataset": FileDataset,
    "OutputFileDatasetConfig": OutputFileDatasetConfig,
    "RunConfiguration": RunConfiguration,
    "TabularDataset": TabularDataset,
}


def test_the_page_lists_what_the_classes_have():
    listed = {
        name: set(re.findall(r"`(\w+)`", has)) for names, has in LISTED for name in re.findall("`([^`]+)`", names)
    }
    assert listed.keys() == CLASSES.keys()
    for name, kind in CLASSES.items():
        public = {member for member in dir(kind) if not member.startswith("_")} - OWN
        assert public <= listed[name], name
        assigned = "".join(inspect.getsource(base) for base in kind.__mro__[:-1])
        assert all(f"self.{member}" in assigned for member in listed[name] - public), name


def test_a_name_that_mountd_does_not_have():
    with pytest.raises(ImportError, match=r"^mountd\.azureml\.core\.Model is not part of mountd; docs/PYTHON\.md"):
        from mountd.azureml.core import Model  # noqa: F401, PLC0415
    with pytest.raises(NotPartOfMountdError):
        _ = mountd.azureml.core.Model
    assert not hasattr(mountd.azureml.core, "_private")


@pytest.mark.parametrize(
    ("whose", "name", "shown"),
    [
        (Datastore, "register_dbfs", "Datastore.register_dbfs"),
        (Workspace, "create", "Workspace.create"),
        (Dataset.Tabular, "from_sql_query", "TabularDatasetFactory.from_sql_query"),
        (Dataset.File.from_files("https://host/a"), "as_hdfs", "FileDataset.as_hdfs"),
        (DataPath(), "create_from_data_reference", "DataPath.create_from_data_reference"),
    ],
)
def test_a_member_that_mountd_does_not_have(whose, name, shown):
    with pytest.raises(NotPartOfMountdError) as told:
        getattr(whose, name)
    assert str(told.value) == f"{shown} is not part of mountd; docs/PYTHON.md lists what is."
    assert isinstance(told.value, UserErrorException)
    assert not hasattr(whose, name)
    assert not hasattr(whose, "_private")


@pytest.mark.parametrize("name", ["core.compute", "widgets", "pipeline.core", "train.hyperdrive", "data.dataset_type"])
def test_a_module_that_mountd_does_not_have(name):
    with pytest.raises(ModuleNotFoundError) as told:
        importlib.import_module(f"mountd.azureml.{name}")
    absent = "pipeline" if name == "pipeline.core" else name
    assert str(told.value) == f"mountd.azureml.{absent} is not part of mountd; docs/PYTHON.md lists what is."
    assert isinstance(told.value, NotPartOfMountdError)


def test_names_of_other_packages_are_left_alone():
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'mountd\.nothing'$"):
        importlib.import_module("mountd.nothing")
    assert importlib.util.find_spec("mountd.azureml._private") is None


def test_a_module_can_be_imported_from_its_package_first():
    code = "from mountd.azureml.data import data_reference; from mountd.azureml.core import workspace; print('fine')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "fine\n"
