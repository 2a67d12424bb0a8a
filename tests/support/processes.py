"""Looking at processes that are not our children."""

from pathlib import Path

import trio


def process_is_over(pid):
    """Return whether nobody has `pid`, or only a zombie that its new parent has yet to collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def wait_until_over(pid):
    """Return when `process_is_over`; the kernel tells nobody but the parent."""
    with trio.fail_after(20):
        while not process_is_over(pid):  # noqa: ASYNC110 - see above
            await trio.sleep(0.01)
