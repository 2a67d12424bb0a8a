"""Which lines of pyfuse3's are shown."""

import logging

import pytest

from mountd.fuse.libfuse import _is_trouble


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("fuse_releasedir(): fuse_reply_* failed with No such file or directory", False),
        ("fuse_readdirplus(): fuse_reply_* failed with No such file or directory", False),
        ("fuse_read(): fuse_reply_* failed with Invalid argument", True),
        ("something else: No such file or directory", True),
    ],
)
def test_a_reply_to_what_ended_with_its_mount_is_no_error(line, shown):
    operation, _, rest = line.partition(" ")
    record = logging.LogRecord("pyfuse3", logging.ERROR, "", 1, "%s " + rest, (operation,), None)
    assert _is_trouble(record) is shown
