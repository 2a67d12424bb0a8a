"""Experiments, where scripts look for them."""

from mountd.azureml.absent import absent
from mountd.azureml.core.run import Experiment

__all__ = ["Experiment"]

__getattr__ = absent(__name__)
