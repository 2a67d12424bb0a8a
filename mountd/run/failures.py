"""The errors of a run, with the exit statuses that `env`, `timeout` and shells use for the same.

PreparationError      exit 125   an input or output could not be made ready: the command was not started
NotExecutableError    exit 126   the command is there but cannot be executed
CommandNotFoundError  exit 127   there is no such command
"""

import contextlib
from collections.abc import Iterator

from mountd.errors import MountdError, NotFoundError, SetupError

ERROR_MARK = "mountd: error: "
"""What a line of a run's log begins with that says what went wrong: the journal keeps them by it."""


class PreparationError(SetupError):
    """An input or output could not be made ready; the message names it."""

    exit_code = 125


@contextlib.contextmanager
def preparing(kind: str, name: str) -> Iterator[None]:
    """Turn errors of the body into those of the input or output (`kind`) `name`."""
    try:
        yield
    except MountdError as error:
        raise PreparationError(f"{kind} {name!r}: {error.message}") from error


class NotExecutableError(MountdError):
    """The command is there but cannot be executed."""

    exit_code = 126


class CommandNotFoundError(NotFoundError):
    """There is no such command."""

    exit_code = 127
