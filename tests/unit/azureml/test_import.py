"""Importing the API is light, and what is not in it says so."""

import subprocess
import sys

import pytest

import mountd.azureml.core
from mountd.azureml.absent import NotPartOfMountdError

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
MODULES = (
    "mountd.azureml",
    "mountd.azureml.core",
    "mountd.azureml.data",
    "mountd.azureml.data.azure_storage_datastore",
    "mountd.azureml.data.data_reference",
)


def test_importing_it_loads_nothing_heavy():
    code = f"import sys, {', '.join(MODULES)}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.split() == []


def test_a_name_that_mountd_does_not_have():
    with pytest.raises(ImportError, match=r"^mountd\.azureml\.core\.Model is not part of mountd; docs/PYTHON\.md"):
        from mountd.azureml.core import Model  # noqa: F401, PLC0415
    with pytest.raises(NotPartOfMountdError):
        _ = mountd.azureml.core.Model
    assert not hasattr(mountd.azureml.core, "_private")


def test_a_module_can_be_imported_from_its_package_first():
    code = "from mountd.azureml.data import data_reference; from mountd.azureml.core import workspace; print('fine')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "fine\n"
