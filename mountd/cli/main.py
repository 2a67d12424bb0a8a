"""The `mountd` program: puts the command groups together and turns errors into one line and an exit code."""

import errno
import os
import sys
from typing import Any

import typer

from mountd.cli import cache, catalog, datasets, filling, mounts, runs, transfers
from mountd.errors import MountdError, NoRoomError, UsageError
from mountd.observe.redaction import redact
from mountd.observe.terminals import complain, open_standard_streams, silence

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
    open_standard_streams()
    try:
        status = app(standalone_mode=False)
    except MountdError as error:
        # An argument in the wrong place may be quoted in it: a URL with a SAS given as the mount point.
        complain(f"mountd: error: {redact(error.message)}")
        raise SystemExit(error.exit_code) from None
    except _CommandLineError as error:
        _say_usage(error)
        raise SystemExit(UsageError.exit_code) from None
    except (typer.Abort, KeyboardInterrupt):
        raise SystemExit(130) from None
    except BrokenPipeError:
        silence(sys.stdout)  # its reader left, as in `mountd list | head -1`
        raise SystemExit(1) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            silence(sys.stdout)  # what is left in its buffer would be tried again
            where = error.filename or "what the output goes to"
            complain(f"mountd: error: no space left on the device of {where}; make some and try again")
            raise SystemExit(NoRoomError.exit_code) from None
        if isinstance(error, FileNotFoundError) and not _has_current_directory():
            complain("mountd: error: the current directory has been deleted; change to one that exists")
            raise SystemExit(UsageError.exit_code) from None
        if os.environ.get("MOUNTD_LOG_LEVEL", "").lower() == "debug":
            raise
        what = redact(" ".join(f"{type(error).__name__}: {error}".split()))
        complain(f"mountd: internal error: {what}; please report it with what MOUNTD_LOG_LEVEL=debug prints")
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
    complain(f"mountd: error: {what}{see} `{context.command_path} -h`")


def _has_current_directory() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True
