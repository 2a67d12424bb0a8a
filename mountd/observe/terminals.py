"""What a stream that people look at can show, and programs whose standard streams are no streams at all."""

import os
import sys
from contextlib import suppress
from typing import TextIO

_DUMB = frozenset({"", "dumb", "unknown"})
"""What says that nothing is known of it, or that it can do nothing."""


def redraws(stream: TextIO) -> bool:
    """Whether `stream` is a terminal on which a line can be drawn anew: that of an editor may only append."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in _DUMB


def silence(stream: TextIO) -> None:
    """What is written to `stream` can go nowhere: have it go there without complaint, at the program's end too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def complain(text: str) -> None:
    """Write a line to standard error, if that can be written to."""
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the program's own message
    except OSError:
        silence(sys.stderr)


def open_standard_streams() -> None:
    """Have all three of them where a caller has closed some (`mountd … >&-`): else files would take their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        with suppress(OSError):
            os.fstat(number)
            continue
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)
        mode = "w" if number else "r"
        stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - stays
        setattr(sys, name, stream)
