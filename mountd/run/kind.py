"""What an input says that its source is, and what comes of it if that is something else."""

from typing import Literal

from mountd.errors import UsageError

DataKind = Literal["uri_file", "uri_folder"]


def check_kind(kind: DataKind, source: str, *, is_file: bool) -> None:
    """See that what was found at `source` is what the input says.

    Raises:
        UsageError: it is not.
    """
    if is_file and kind == "uri_folder":
        raise UsageError(f"{source}: is a file, and the input's type is uri_folder; write type: uri_file")
    if not is_file and kind == "uri_file":
        raise UsageError(f"{source}: is a directory, and the input's type is uri_file; write type: uri_folder")
