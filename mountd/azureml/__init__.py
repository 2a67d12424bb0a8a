"""The Azure ML-shaped Python API: with `mountd.azureml.` for `azureml.`, the scripts of its pages run on this node.

`docs/PYTHON.md` says what is in it; every other name says that it is not. Importing it is light: no trio, no storage
library and no pandas before a call needs them.
"""
