"""Workspaces, datastores, datasets and runs, under the names that scripts import."""

from mountd.azureml.absent import absent
from mountd.azureml.core.dataset import Dataset
from mountd.azureml.core.datastore import Datastore
from mountd.azureml.core.environment import Environment
from mountd.azureml.core.run import Experiment, Run
from mountd.azureml.core.script_run_config import ScriptRunConfig
from mountd.azureml.core.workspace import Workspace

__all__ = ["Dataset", "Datastore", "Environment", "Experiment", "Run", "ScriptRunConfig", "Workspace"]

__getattr__ = absent(__name__)
