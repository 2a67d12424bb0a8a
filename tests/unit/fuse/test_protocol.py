"""The layouts, against the sizes that include/uapi/linux/fuse.h gives them."""

import pytest

from mountd.fuse import protocol


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        (protocol.IN_HEADER, 40),
        (protocol.OUT_HEADER, 16),
        (protocol.INIT_OUT, 64),
        (protocol.OPEN_IN, 8),
        (protocol.OPEN_OUT, 16),
        (protocol.FORGET_ONE, 16),
        (protocol.ENTRY_OUT, 40),
        (protocol.ATTR_OUT, 16),
        (protocol.ATTR, 88),
        (protocol.DIRENT, 24),
        (protocol.STATFS_OUT, 80),
    ],
)
def test_sizes(layout, size):
    assert layout.size == size


def test_there_is_room_for_the_largest_request():
    write_in = 40
    assert protocol.IN_HEADER.size + write_in + protocol.LARGEST_REQUEST <= protocol.REQUEST_ROOM
