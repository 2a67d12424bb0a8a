"""What `wait_for_completion(show_output=True)` prints."""

import sys
from contextlib import suppress


class Stream:
    """Standard output, or nothing."""

    def __init__(self, *, show: bool) -> None:
        self._show = show

    def say(self, text: str) -> None:
        """Print `text` and end the line."""
        self.write(f"{text}\n")

    def write(self, text: str) -> None:
        """Print `text`."""
        if self._show:
            with suppress(OSError):  # whoever looked is gone; the run goes on
                sys.stdout.write(text)
                sys.stdout.flush()


def summary(identifier: str, url: str) -> str:
    """Return the last lines."""
    return f"Execution Summary\n{'=' * 17}\nRunId: {identifier}\nWeb View: {url}\n"
