"""What a stream that people look at can show."""

import os
from typing import TextIO

_DUMB = frozenset({"", "dumb", "unknown"})
"""What says that nothing is known of it, or that it can do nothing."""


def redraws(stream: TextIO) -> bool:
    """Whether `stream` is a terminal on which a line can be drawn anew: that of an editor may only append."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in _DUMB
