"""Small files written whole or not at all, readable by their owner only.

A file is written beside its final place, flushed to disk and renamed; a failure leaves neither the new file nor a
part of it. Blocking: for the command line and start-up.
"""

import contextlib
import os
import tempfile
from pathlib import Path

DIRECTORY_MODE = 0o700


def write_file(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write `data` to `path`, mode 0600.

    Raises:
        FileExistsError: `overwrite` is false and `path` is taken.
        OSError: the file system refused.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp's mode is 0600
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            Path(temporary).replace(path)
        else:
            os.link(temporary, path)  # unlike rename, refuses a name that is taken
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Flush the names in `path` to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
