"""`python -m mountd.run DIRECTORY LOCK`: the process of a submitted run; what to do comes through standard input.

It detaches: whoever submitted the run may end. Its output is the run's log.
"""

import os
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Carry out the run that `arguments` and standard input describe."""
    directory, lock = arguments
    if os.fork() > 0:
        os._exit(0)  # the submitter waits for this process only; the run is nobody's child
    order = sys.stdin.buffer.read()
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    from mountd.run.submit import run_order  # noqa: PLC0415 - after the fork: the submitter is waiting

    return run_order(Path(directory), int(lock), order)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
