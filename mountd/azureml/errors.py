"""What the API raises: every failure is an `AzureMLException`, whichever part of mountd it came from.

What the caller can do something about is a `UserErrorException`. The rest, a store that cannot be reached or a mount
that does not come about, is an `AzureMLException` of no kind. Both are `MountdError`s, whose one line is `message`.
"""

import contextlib
import json
from collections.abc import Iterator

from mountd.errors import CorruptError, MountdError, SetupError, UnavailableError, UsageError

_NOT_THE_CALLERS = (CorruptError, SetupError, UnavailableError)


class AzureMLException(MountdError):  # noqa: N818 - the name people know
    """Base of everything that the API raises."""


class UserErrorException(UsageError, AzureMLException):  # noqa: N818 - as above
    """The caller can fix it.

    `str` has the form that Azure ML's clients print and that people parse; `message` is the one line.
    """

    def __init__(self, exception_message: str) -> None:
        super().__init__(exception_message)
        self._said = exception_message

    @property
    def text(self) -> str:
        """The one line."""
        return " ".join(self._said.split())

    def __str__(self) -> str:
        response = json.dumps({"error": {"code": "UserError", "message": self._said}}, indent=4, ensure_ascii=False)
        return f"UserErrorException:\n\tMessage: {self._said}\n\tInnerException None\n\tErrorResponse \n{response}"


class ActivityFailedException(AzureMLException):
    """A run did not complete; the message names the run, the reason and the log."""


@contextlib.contextmanager
def as_api_errors() -> Iterator[None]:
    """Raise what mountd's parts raise as what scripts catch; also a decorator."""
    try:
        yield
    except AzureMLException:
        raise
    except MountdError as error:
        if type(error) is MountdError or isinstance(error, _NOT_THE_CALLERS):
            raise AzureMLException(error.text) from None
        raise UserErrorException(error.text) from None
