"""Datastores, datasets and references to data, under the names that scripts import."""

from mountd.azureml.absent import absent
from mountd.azureml.data.file_dataset import FileDataset
from mountd.azureml.data.output_dataset_config import OutputFileDatasetConfig
from mountd.azureml.data.tabular_dataset import TabularDataset

__all__ = ["FileDataset", "OutputFileDatasetConfig", "TabularDataset"]

__getattr__ = absent(__name__)
