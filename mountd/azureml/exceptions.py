"""The exceptions that scripts catch by name."""

from mountd.azureml.absent import NotPartOfMountdError, absent
from mountd.azureml.errors import ActivityFailedException, AzureMLException, UserErrorException

__all__ = ["ActivityFailedException", "AzureMLException", "NotPartOfMountdError", "UserErrorException"]

__getattr__ = absent(__name__)
