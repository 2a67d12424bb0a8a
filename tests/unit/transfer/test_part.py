"""A file in the making: locks, versions, the moment it gets its name."""

import errno
import os
import threading

import pytest

from mountd.errors import BusyError, CorruptError, ExistsError, IsDirectoryError
from mountd.stores.base import ObjectInfo
from mountd.transfer.descriptors import Descriptors
from mountd.transfer.part import PartFile, PartPaths, write_whole
from mountd.units import ByteRange, ETag

DATA = bytes(range(256)) * 10  # 2560 bytes: 2 ranges of 1024 and a rest
RANGE = 1024
MTIME = 1_600_000_000_123_456_789


def info(etag='"1"', size=2560):
    return ObjectInfo("k", size, MTIME, ETag(etag))


@pytest.fixture
def paths(tmp_path):
    return PartPaths.of(tmp_path / "file")


def fill(part):
    for piece in part.missing():
        part.write(piece.start, memoryview(DATA)[piece.start : piece.stop])


def fill_and_publish(part):
    fill(part)
    part.publish(overwrite=False)


def left_in(directory):
    return sorted(os.listdir(directory))


def test_a_small_file_appears_whole_with_its_time(paths):
    left = write_whole(paths.final, memoryview(DATA), MTIME, overwrite=False)
    assert paths.final.read_bytes() == DATA
    assert paths.final.stat().st_mtime_ns == MTIME
    assert left.st_ino == paths.final.stat().st_ino
    assert left_in(paths.final.parent) == ["file"]


def test_a_small_file_takes_the_place_of_a_leftover(paths):
    paths.part.write_bytes(b"x" * 5000)
    write_whole(paths.final, memoryview(DATA), MTIME, overwrite=False)
    assert paths.final.read_bytes() == DATA


def test_what_is_there_stays_without_overwrite(paths):
    paths.final.write_bytes(b"mine")
    with pytest.raises(ExistsError):
        write_whole(paths.final, memoryview(DATA), MTIME, overwrite=False)
    assert paths.final.read_bytes() == b"mine"
    assert left_in(paths.final.parent) == ["file"]
    write_whole(paths.final, memoryview(DATA), MTIME, overwrite=True)
    assert paths.final.read_bytes() == DATA


def test_a_link_is_replaced_and_not_written_through(paths, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"precious")
    paths.final.symlink_to(tmp_path / "elsewhere")
    write_whole(paths.final, memoryview(DATA), MTIME, overwrite=True)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"
    assert not paths.final.is_symlink()


def test_a_link_in_place_of_the_part_file_is_not_followed(paths, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"precious")
    paths.part.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        write_whole(paths.final, memoryview(DATA), MTIME, overwrite=True)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_a_directory_in_the_way_is_an_error(paths):
    paths.final.mkdir()
    for overwrite in (False, True):
        with pytest.raises(IsDirectoryError):
            write_whole(paths.final, memoryview(DATA), MTIME, overwrite=overwrite)
    assert left_in(paths.final.parent) == ["file"]


def test_the_longest_name_has_room_for_its_part_file(tmp_path):
    name = "é" * 127 + "x"
    paths = PartPaths.of(tmp_path / name)
    write_whole(paths.final, memoryview(DATA), MTIME, overwrite=False)
    part = PartFile(PartPaths.of(tmp_path / ("y" * 255)), "s", info(), RANGE)
    fill(part)
    part.publish(overwrite=False)
    part.close()
    assert left_in(tmp_path) == sorted([name, "y" * 255])


def test_a_large_file_goes_on_where_it_was(paths):
    part = PartFile(paths, "s", info(), RANGE)
    assert part.missing() == [ByteRange(0, 1024), ByteRange(1024, 2048), ByteRange(2048, 2560)]
    part.write(1024, memoryview(DATA)[1024:2048])
    part.close()
    assert not paths.final.exists()

    part = PartFile(paths, "s", info(), RANGE)
    assert part.finished_bytes == 1024
    assert part.missing() == [ByteRange(0, 1024), ByteRange(2048, 2560)]
    with pytest.raises(CorruptError):
        part.publish(overwrite=False)
    fill(part)
    part.publish(overwrite=False)
    part.close()
    assert paths.final.read_bytes() == DATA
    assert paths.final.stat().st_mtime_ns == MTIME
    assert left_in(paths.final.parent) == ["file"]


@pytest.mark.parametrize("other", [info(etag='"2"'), info(size=2000), info(size=3000)])
def test_another_version_starts_in_a_new_file(paths, other):
    part = PartFile(paths, "s", info(), RANGE)
    part.write(0, memoryview(DATA)[:1024])
    old_inode = paths.part.stat().st_ino
    part.close()
    keep = os.open(paths.part, os.O_RDONLY)  # so that the number is not used again
    try:
        part = PartFile(paths, "s", other, RANGE)
        assert part.finished_bytes == 0
        assert paths.part.stat().st_ino != old_inode
        assert paths.part.stat().st_size == other.size
        part.close()
    finally:
        os.close(keep)


def test_a_journal_without_its_part_file_is_worth_nothing(paths):
    part = PartFile(paths, "s", info(), RANGE)
    part.write(0, memoryview(DATA)[:1024])
    part.close()
    content = paths.part.read_bytes()
    paths.part.unlink()
    (paths.part.parent / "spacer").write_bytes(b"")  # takes the inode number that became free
    paths.part.write_bytes(content)
    part = PartFile(paths, "s", info(), RANGE)
    assert part.finished_bytes == 0
    part.close()


def test_a_part_file_that_is_being_written_is_busy(paths):
    part = PartFile(paths, "s", info(), RANGE)
    with pytest.raises(BusyError):
        PartFile(paths, "s", info(), RANGE)
    with pytest.raises(BusyError):
        write_whole(paths.final, memoryview(DATA), MTIME, overwrite=False)
    part.close()
    PartFile(paths, "s", info(), RANGE).close()


def test_a_call_that_comes_after_close_writes_nowhere(paths):
    part = PartFile(paths, "s", info(), RANGE)
    part.close()
    stranger = os.open(paths.final.parent / "stranger", os.O_RDWR | os.O_CREAT)  # gets the number just freed
    try:
        with pytest.raises(ValueError, match="closed"):
            part.write(0, memoryview(DATA)[:1024])
        assert os.fstat(stranger).st_size == 0
    finally:
        os.close(stranger)


def test_descriptors_close_when_the_last_user_leaves(tmp_path):
    number = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    guard = Descriptors(number)
    inside, leave = threading.Event(), threading.Event()

    def use():
        with guard:
            inside.set()
            leave.wait(10)
            os.write(number, b"still mine")

    thread = threading.Thread(target=use)
    thread.start()
    inside.wait(10)
    guard.close()
    guard.close()
    os.fstat(number)
    leave.set()
    thread.join(10)
    assert (tmp_path / "f").read_bytes() == b"still mine"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_syncs_are_recorded_now_and_then(paths, monkeypatch):
    monkeypatch.setattr("mountd.transfer.part.SYNC_EVERY", 2)
    part = PartFile(paths, "s", info(), RANGE)
    part.write(0, memoryview(DATA)[:1024])
    assert b"s " not in paths.journal.read_bytes()
    part.write(1024, memoryview(DATA)[1024:2048])
    assert paths.journal.read_bytes().endswith(b"r 0\nr 1\ns 2\n")
    part.close()


@pytest.mark.parametrize("when", ["while it grows", "at the end"])
def test_a_sync_that_fails_makes_everything_before_it_doubtful(paths, monkeypatch, when):
    """The kernel forgets pages that it could not write, and reports that once."""

    def fail(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("mountd.transfer.part.SYNC_EVERY", 2 if when == "while it grows" else 100)
    part = PartFile(paths, "s", info(), RANGE)
    with monkeypatch.context() as patched:
        patched.setattr("mountd.transfer.part.os.fdatasync", fail)
        with pytest.raises(OSError, match="Input/output"):
            fill_and_publish(part)
    part.close()
    again = PartFile(paths, "s", info(), RANGE)
    assert again.finished_bytes == 0
    fill(again)
    again.publish(overwrite=False)
    again.close()
    assert paths.final.read_bytes() == DATA


def test_a_small_file_that_cannot_be_synced_gets_no_name(paths, monkeypatch):
    def fail(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("mountd.transfer.part.os.fdatasync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_whole(paths.final, memoryview(DATA), MTIME, overwrite=False)
    assert left_in(paths.final.parent) == []
