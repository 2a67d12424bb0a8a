"""What a stream that people look at can show."""

import os
from typing import TextIO

_DUMB = frozenset({"dumb", "unknown"})


def redraws(stream: TextIO) -> bool:
    """Whether `stream` is a terminal on which a line can be drawn anew: that of an editor may only append."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in _DUMB
