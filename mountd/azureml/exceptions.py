"""The exceptions that scripts catch by name."""

import contextlib
import json
from collections.abc import Iterator

from mountd.azureml.absent import absent
from mountd.errors import ExistsError, MountdError, NotFoundError, UsageError


class AzureMLException(MountdError):  # noqa: N818 - the name people know
    """Base of what the API raises for its callers' mistakes."""


class UserErrorException(UsageError, AzureMLException):  # noqa: N818 - as above
    """The caller can fix it.

    `str` has the form that Azure ML's clients print and that people parse; `message` is the one line.
    """

    def __init__(self, exception_message: str) -> None:
        super().__init__(exception_message)
        self._said = exception_message

    @property
    def message(self) -> str:
        """The one line."""
        return " ".join(self._said.split())

    def __str__(self) -> str:
        response = json.dumps({"error": {"code": "UserError", "message": self._said}}, indent=4, ensure_ascii=False)
        return f"UserErrorException:\n\tMessage: {self._said}\n\tInnerException None\n\tErrorResponse \n{response}"


class ActivityFailedException(AzureMLException):
    """A run did not complete; the message names the run, the reason and the log."""


@contextlib.contextmanager
def as_user_errors() -> Iterator[None]:
    """Raise what the workspace's files refuse as the exception that scripts catch."""
    try:
        yield
    except UserErrorException:
        raise
    except (UsageError, NotFoundError, ExistsError) as error:
        raise UserErrorException(error.message) from None


__getattr__ = absent(__name__)
