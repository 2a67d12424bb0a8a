"""The `mountd` program: puts the command groups together and turns errors into one line and an exit code."""

import os
import sys
from typing import Any

import typer

from mountd.cli import cache, catalog, datasets, filling, mounts, runs, transfers
from mountd.errors import MountdError, UsageError
from mountd.observe.redaction import redact

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
cache.register(app)
filling.register(app)
datasets.register(app)


def main() -> None:
    """Run the command line and exit with a code of the contract: 0, 1 internal, 2 usage, 3 not found and so on."""
    try:
        status = app(standalone_mode=False)
    except MountdError as error:
        # An argument in the wrong place may be quoted in it: a URL with a SAS given as the mount point.
        print(f"mountd: error: {redact(error.message)}", file=sys.stderr)  # noqa: T201 - the program's own message
        raise SystemExit(error.exit_code) from None
    except _CommandLineError as error:
        _say_usage(error)
        raise SystemExit(UsageError.exit_code) from None
    except (typer.Abort, KeyboardInterrupt):
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of our output left, as in `mountd list | head -1`; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if isinstance(error, FileNotFoundError) and not _has_current_directory():
            print("mountd: error: the current directory has been deleted; change to one that exists", file=sys.stderr)  # noqa: T201 - as above
            raise SystemExit(UsageError.exit_code) from None
        if os.environ.get("MOUNTD_LOG_LEVEL", "").lower() == "debug":
            raise
        what = redact(" ".join(f"{type(error).__name__}: {error}".split()))
        print(  # noqa: T201 - as above
            f"mountd: internal error: {what}; please report it with what MOUNTD_LOG_LEVEL=debug prints", file=sys.stderr
        )
        raise SystemExit(1) from None
    raise SystemExit(status if isinstance(status, int) else 0)


def _say_usage(error: Any) -> None:
    context = getattr(error, "ctx", None)
    if context is None or type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: its whole help
        error.message = redact(error.message)
        error.show()
        return
    what = redact(" ".join(error.format_message().split())).removesuffix(".")
    see = " See" if what.endswith("?") else "; see"  # "Did you mean 'mount'?"
    print(f"mountd: error: {what}{see} `{context.command_path} -h`", file=sys.stderr)  # noqa: T201 - as above


def _has_current_directory() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True
