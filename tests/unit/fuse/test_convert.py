"""Errors to errnos, attributes to the kernel's."""

import errno
import stat
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd import errors
from mountd.errors import MountdError
from mountd.fuse import protocol
from mountd.fuse.convert import FOREVER_S, AttributeMaker, AttributePacker, Ownership, to_errno
from mountd.vfs.attributes import Attributes

OWNERSHIP = Ownership(uid=12, gid=34, file_mode=0o640, dir_mode=0o750)
MAKER = AttributeMaker(OWNERSHIP)
ALL_ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MountdError)]


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_every_error_of_ours_has_an_errno_that_the_kernel_takes(kind):
    assert to_errno(kind("what")) == kind.errno
    assert 0 < kind.errno < 512, "anything else would be refused by the kernel, and the caller would wait for ever"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full"),
        FileNotFoundError(errno.ENOENT, "gone"),
        ValueError(),
        ExceptionGroup("", [OSError()]),
    ],
)
def test_everything_else_is_a_bug_and_eio(error):
    assert to_errno(error) == errno.EIO


def test_a_file():
    entry = MAKER.entry(Attributes(7, False, 1025, 1_700_000_000_123_456_789), 30.0)
    assert entry.st_ino == 7
    assert entry.generation == 0
    assert entry.st_mode == stat.S_IFREG | 0o640
    assert (entry.st_uid, entry.st_gid, entry.st_nlink, entry.st_rdev) == (12, 34, 1, 0)
    assert (entry.st_size, entry.st_blocks, entry.st_blksize) == (1025, 3, 4096)
    assert entry.st_mtime_ns == entry.st_ctime_ns == entry.st_atime_ns == 1_700_000_000_123_456_789
    assert entry.entry_timeout == 30.0
    assert entry.attr_timeout == FOREVER_S


def test_a_directory():
    entry = MAKER.entry(Attributes(8, True, 0, 5), 0.0)
    assert entry.st_mode == stat.S_IFDIR | 0o750
    assert (entry.st_nlink, entry.st_size, entry.st_blocks, entry.st_blksize) == (2, 0, 0, 1 << 20)
    assert entry.entry_timeout == 0.0


@pytest.mark.parametrize(
    ("size", "blocks"), [(0, 0), (1, 1), (512, 1), (513, 2), (1 << 40, 1 << 31), ((1 << 63) - 1, 1 << 54)]
)
def test_sizes_up_to_the_largest(size, blocks):
    entry = MAKER.entry(Attributes(2, False, size, 0), 1.0)
    assert (entry.st_size, entry.st_blocks) == (size, blocks)


@pytest.mark.parametrize("mtime_ns", [0, 1, 999_999_999, 1 << 61, -1_000_000_000, -1])
def test_times(mtime_ns):
    entry = MAKER.entry(Attributes(2, False, 0, mtime_ns), 1.0)
    assert entry.st_mtime_ns == mtime_ns


def test_answers_that_never_expire_are_asked_again_after_a_day():
    assert MAKER.entry(Attributes(2, False, 0, 0), float("inf")).entry_timeout == FOREVER_S
    assert MAKER.absent(float("inf")).entry_timeout == FOREVER_S


def test_an_absent_name():
    entry = MAKER.absent(12.5)
    assert (entry.st_ino, entry.entry_timeout) == (0, 12.5)


def test_one_object_serves_entry_after_entry():
    """A listing fills the same one again and again: nothing of one entry may stay for the next."""
    entry = MAKER.entry(Attributes(7, False, 1025, 99), 30.0)
    for attributes, valid_s in [(Attributes(8, True, 0, 5), 1.0), (Attributes(9, False, 3, 6), 2.0)]:
        MAKER.fill(entry, attributes, valid_s)
        fresh = MAKER.entry(attributes, valid_s)
        for field in ("st_ino", "st_mode", "st_nlink", "st_size", "st_blocks", "st_blksize", "st_uid", "st_gid"):
            assert getattr(entry, field) == getattr(fresh, field)
        assert (entry.st_mtime_ns, entry.entry_timeout) == (fresh.st_mtime_ns, fresh.entry_timeout)


PACKER = AttributePacker(OWNERSHIP)
any_attributes = st.builds(
    Attributes, st.integers(1, (1 << 64) - 1), st.booleans(), st.integers(0, (1 << 63) - 1), st.integers(0, 1 << 62)
)


@given(any_attributes, st.floats(0, 1e9))
def test_what_is_packed_is_what_pyfuse3_is_given(attributes, valid_s):
    made = MAKER.entry(attributes, valid_s)
    packed = PACKER.entry(attributes, valid_s)
    nodeid, generation, entry_s, attr_s, entry_ns, attr_ns = protocol.ENTRY_OUT.unpack_from(packed)
    assert (nodeid, generation) == (made.st_ino, 0)
    assert (attr_s, attr_ns) == (FOREVER_S, 0)
    assert 0 <= entry_ns < 1_000_000_000
    assert entry_s + entry_ns / 1e9 == pytest.approx(made.entry_timeout, abs=2e-9)
    ino, size, blocks, *times, mode, nlink, uid, gid, rdev, blksize, flags = protocol.ATTR.unpack_from(packed, 40)
    assert (ino, mode, nlink, uid, gid) == (made.st_ino, made.st_mode, made.st_nlink, made.st_uid, made.st_gid)
    assert (rdev, blksize, flags) == (0, made.st_blksize, 0)
    assert blocks == made.st_blocks
    assert size == (0 if attributes.is_directory else made.st_size)
    assert [seconds * 10**9 + rest for seconds, rest in zip(times[:3], times[3:], strict=True)] == [
        made.st_mtime_ns
    ] * 3
    assert PACKER.attributes(attributes) == protocol.ATTR_OUT.pack(int(FOREVER_S), 0) + packed[40:]


@given(st.integers(-(1 << 40), -1))
def test_a_time_before_1970_is_a_negative_number_of_seconds(mtime_ns):
    packed = PACKER.entry(Attributes(5, False, 1, mtime_ns), 1.0)
    seconds = int.from_bytes(packed[64:72], sys.byteorder, signed=True)
    assert seconds * 10**9 + protocol.ATTR.unpack_from(packed, 40)[6] == mtime_ns


@given(
    st.binary(min_size=1, max_size=255), any_attributes, st.integers(0, (1 << 62) - 1), st.sampled_from([1.5, 0.0, 7])
)
def test_an_entry_of_a_directory(name, attributes, next_offset, valid_s):
    packed = PACKER.listed(name, attributes, valid_s, next_offset)
    assert packed[:128] == PACKER.entry(attributes, valid_s)
    ino, offset, length, kind = protocol.DIRENT.unpack_from(packed, 128)
    assert (ino, offset, length) == (attributes.ino, next_offset, len(name))
    assert kind == (stat.S_IFDIR if attributes.is_directory else stat.S_IFREG) >> 12
    assert (packed[152 : 152 + length], len(packed) % 8) == (name, 0)
    assert packed[152 + length :].strip(b"\0") == b""


def test_a_name_that_is_not_there():
    packed = PACKER.absent(30.0)
    assert (len(packed), protocol.ENTRY_OUT.unpack_from(packed)) == (128, (0, 0, 30, 0, 0, 0))
