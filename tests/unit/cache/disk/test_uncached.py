"""Reading around the page cache: the same bytes, and the ordinary way wherever that is better or the only one."""

import errno
import fcntl
import os

import pytest

from mountd.aio.buffers import unfilled, unfilled_on
from mountd.cache.disk import files, uncached
from mountd.cache.disk.layout import Layout
from mountd.units import KIB, MIB, ByteRange

SIZE = 3 * MIB + 12_345


@pytest.fixture
def data():
    return os.urandom(SIZE)


@pytest.fixture
def descriptor(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    opened = os.open(path, os.O_RDONLY)
    yield opened
    os.close(opened)


@pytest.fixture
def out_of_memory(monkeypatch):
    """Whatever the kernel did meanwhile: no page is held."""
    monkeypatch.setattr(uncached, "is_mostly_in_memory", lambda *_: False)


def reads_around(descriptor):
    """Whether the file system of this machine's temporary directory can do it at all."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        os.preadv(descriptor, [unfilled_on(uncached.BLOCK, uncached.BLOCK)], 0)
    except OSError:
        return False
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    return True


@pytest.mark.usefixtures("out_of_memory")
@pytest.mark.parametrize(
    ("start", "stop"), [(0, MIB), (64 * KIB, 2 * MIB), (MIB, SIZE), (0, SIZE), (MIB, 2 * MIB + 1), (2 * MIB, SIZE)]
)
def test_the_bytes_are_those_of_the_file(descriptor, data, start, stop):
    got = uncached.read_uncached(descriptor, start, stop)
    assert (got is not None) == reads_around(descriptor)
    assert got is None or got == data[start:stop]


@pytest.mark.usefixtures("out_of_memory")
def test_a_file_that_ends_early_gives_what_there_is_and_nothing_else(descriptor, data):
    got = uncached.read_uncached(descriptor, MIB, 8 * MIB)
    assert got is None or got == data[MIB:]
    got = uncached.read_uncached(descriptor, 16 * MIB, 20 * MIB)
    assert got is None or got == b""


def test_pages_in_memory_are_read_in_the_ordinary_way(descriptor):
    os.pread(descriptor, SIZE, 0)
    assert uncached.is_mostly_in_memory(descriptor, 0, 2 * MIB)
    assert uncached.read_uncached(descriptor, 0, 2 * MIB) is None


def test_pages_that_were_dropped_are_known_to_be_gone(descriptor):
    os.fdatasync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    # A file system that lives in memory drops nothing, and cannot read around it either.
    assert uncached.is_mostly_in_memory(descriptor, 0, 2 * MIB) != reads_around(descriptor)


@pytest.mark.usefixtures("out_of_memory")
@pytest.mark.parametrize(("start", "stop"), [(0, MIB - 1), (0, 4096), (100, 3 * MIB)])
def test_short_and_crooked_reads_go_the_ordinary_way(descriptor, start, stop):
    assert uncached.read_uncached(descriptor, start, stop) is None


@pytest.mark.usefixtures("out_of_memory")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_where_the_file_system_cannot_the_flag_is_taken_back(descriptor, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(uncached, "_read", refuse)
    assert uncached.read_uncached(descriptor, 0, 2 * MIB) is None
    assert not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT
    assert len(os.pread(descriptor, 100, 1)) == 100


@pytest.mark.usefixtures("out_of_memory")
def test_a_failing_disk_is_no_reason_to_try_the_other_way(descriptor, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(uncached, "_read", fail)
    if reads_around(descriptor):
        with pytest.raises(OSError, match="broken"):
            uncached.read_uncached(descriptor, 0, 2 * MIB)


@pytest.mark.usefixtures("out_of_memory")
def test_checksums_hold_for_bytes_that_were_read_around_the_cache(tmp_path, data):
    layout = Layout(tmp_path / "cache")
    layout.make()
    runs, _ = files.write(layout, 1, 0, memoryview(data))
    assert files.read(layout, 1, runs, ByteRange(5, SIZE - 5)) == data[5 : SIZE - 5]
    with open(layout.file(1), "r+b") as file:
        file.seek(2 * MIB + 77)
        file.write(bytes([data[2 * MIB + 77] ^ 1]))
    with pytest.raises(files.BadRunError):
        files.read(layout, 1, runs, ByteRange(0, SIZE))
    os.truncate(layout.file(1), 2 * MIB)
    with pytest.raises(files.BadRunError):
        files.read(layout, 1, runs, ByteRange(0, SIZE))


@pytest.mark.parametrize("count", [0, 1, 4096, 5 * MIB])
def test_unfilled_buffers_have_their_length_and_can_be_written(count):
    buffer = unfilled(count)
    assert len(buffer) == count
    buffer[:] = bytes(count)
    assert buffer == bytes(count)
    view = unfilled_on(4096, count)
    assert view.nbytes == count
    assert not view.readonly
