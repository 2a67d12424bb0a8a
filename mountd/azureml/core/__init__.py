"""Workspaces, datastores, datasets and runs, under the names that scripts import."""

from mountd.azureml.absent import absent
from mountd.azureml.core.datastore import Datastore
from mountd.azureml.core.workspace import Workspace

__all__ = ["Datastore", "Workspace"]

__getattr__ = absent(__name__)
