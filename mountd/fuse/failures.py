"""What becomes of an exception that ends a request: an errno, and a line in the log where something is wrong.

No exception may end a session: every program would see ENOTCONN. Whatever is not expected becomes EIO, a log line with
its traceback, and a count.
"""

import errno

from mountd.errors import MountdError
from mountd.fuse.complaints import Complaints
from mountd.fuse.convert import to_errno
from mountd.observe.logs import get_logger

ANSWERS = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ESTALE, errno.EROFS, errno.EINVAL}
)
"""What a file system says every day; any other errno means that something is wrong, and is worth a line in the log."""

log = get_logger("mountd.fuse")


class Failures:
    """Of one session."""

    def __init__(self) -> None:
        self.unexpected = 0
        """How many were bugs."""
        self._complaints = Complaints(log)

    def errno_of(self, operation: str, error: Exception) -> int:
        """Return what to answer; counts and logs."""
        number = to_errno(error)
        if operation == "readdir" and number == errno.ENOENT:
            # The C library takes ENOENT there for the end: what is gone would look empty, or whole where it broke off.
            number = errno.EIO
        if not isinstance(error, MountdError):
            self.unexpected += 1
            self._complaints.broken(operation, error)
        elif number not in ANSWERS:
            self._complaints.failed(operation, error.message)
        return number
