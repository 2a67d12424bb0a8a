"""Datastores, datasets and references to data, under the names that scripts import."""

from mountd.azureml.absent import absent

__all__: list[str] = []

__getattr__ = absent(__name__)
