"""Datasets: made, and looked up in a workspace."""

from mountd.azureml.absent import PartlyAbsent, absent
from mountd.azureml.core.workspace import Workspace
from mountd.azureml.data.abstract_dataset import AbstractDataset
from mountd.azureml.data.dataset_factory import FileDatasetFactory, TabularDatasetFactory
from mountd.azureml.data.file_dataset import FileDataset
from mountd.azureml.data.tabular_dataset import TabularDataset
from mountd.azureml.errors import as_api_errors
from mountd.catalog.dataset_registry import LATEST, DatasetRegistry
from mountd.catalog.dataset_yaml import RegisteredDataset


class Dataset(PartlyAbsent):
    """Entry to the datasets of a workspace."""

    File = FileDatasetFactory
    Tabular = TabularDatasetFactory

    @staticmethod
    def get_by_name(workspace: Workspace, name: str, version: int | str = LATEST) -> AbstractDataset:
        """Return a version of the dataset `name`.

        Raises:
            UserErrorException: there is none.
        """
        with as_api_errors():
            return _dataset(workspace, DatasetRegistry(workspace.catalog).get(name, str(version)))

    @staticmethod
    def get_by_id(workspace: Workspace, id: str) -> AbstractDataset:  # noqa: A002 - Azure ML's name
        """Return the dataset with this id, registered or only used in a run.

        Raises:
            UserErrorException: there is none.
        """
        with as_api_errors():
            return _dataset(workspace, DatasetRegistry(workspace.catalog).get_by_id(id))

    @staticmethod
    def get_all(workspace: Workspace) -> dict[str, AbstractDataset]:
        """Return the latest version of every registered dataset, by name."""
        with as_api_errors():
            registered = DatasetRegistry(workspace.catalog).latest()
        return {str(dataset.name): _dataset(workspace, dataset) for dataset in registered}


def _dataset(workspace: Workspace, registered: RegisteredDataset) -> AbstractDataset:
    kind = TabularDataset if registered.definition.type == "tabular" else FileDataset
    return kind(registered.definition, workspace, registered)


__getattr__ = absent(__name__)
