"""The directory that this process is in, for what begins there."""

from pathlib import Path

from mountd.azureml.errors import UserErrorException


def current_directory() -> Path:
    """Return the directory that this process is in.

    Raises:
        UserErrorException: it has been deleted, or may not be looked up.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UserErrorException("The current directory has been deleted; change to one that exists.") from None
    except OSError as error:
        raise UserErrorException(f"The current directory cannot be looked up: {error.strerror}.") from None
