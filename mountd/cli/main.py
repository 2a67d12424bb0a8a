"""The `mountd` program: puts the command groups together and turns errors into one line and an exit code."""

import sys
from typing import Any

import typer

from mountd.cli import catalog, mounts, runs, transfers
from mountd.errors import MountdError

app = typer.Typer(
    name="mountd",
    help="Azure storage, web URLs and local directories as POSIX paths for training jobs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Typer may carry a copy of click of its own, whose exceptions are others than click's: ask a name that it exports.
_CommandLineError: Any = typer.BadParameter.__mro__[2]
assert _CommandLineError.__name__ == "ClickException"

mounts.register(app)
transfers.register(app)
runs.register(app)
catalog.register(app)


def main() -> None:
    """Run the command line and exit with a code of the contract: 0, 1 internal, 2 usage, 3 not found and so on."""
    try:
        status = app(standalone_mode=False)
    except MountdError as error:
        print(f"mountd: error: {error.message}", file=sys.stderr)  # noqa: T201 - the program's own message
        raise SystemExit(error.exit_code) from None
    except _CommandLineError as error:
        error.show()
        raise SystemExit(2) from None
    except (typer.Abort, KeyboardInterrupt):
        raise SystemExit(130) from None
    raise SystemExit(status if isinstance(status, int) else 0)
