"""A local file that is read for an upload, and whether it held still."""

import os

import pytest

from mountd.errors import ChangedError
from mountd.transfer.source_file import SourceFile, read_small
from mountd.units import ByteRange


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(1, 1))
    return path


@pytest.fixture
def file(path):
    file = SourceFile(str(path))
    yield file
    file.close()


def test_ranges_are_read_exactly(file):
    assert file.size == 10
    assert bytes(file.read(ByteRange(2, 5))) == b"234"
    assert bytes(file.read(ByteRange(10, 10))) == b""
    file.check_unchanged()


def test_a_change_of_mode_or_links_is_no_change(file, path):
    path.chmod(0o600)
    os.link(path, path.with_name("other"))
    file.check_unchanged()


def test_a_shorter_file_is_a_change(file, path):
    os.truncate(path, 5)
    with pytest.raises(ChangedError):
        file.read(ByteRange(2, 8))


@pytest.mark.parametrize("change", ["grow", "rewrite", "replace", "delete"])
def test_changes_are_seen(file, path, change):
    if change == "grow":
        with path.open("ab") as appended:
            appended.write(b"x")
        os.utime(path, ns=(1, 1))
    elif change == "rewrite":
        path.write_bytes(b"9876543210")
    elif change == "replace":
        path.with_name("new").write_bytes(b"0123456789")
        os.utime(path.with_name("new"), ns=(1, 1))
        path.with_name("new").rename(path)
    else:
        path.unlink()
    with pytest.raises(ChangedError):
        file.check_unchanged()


def test_small_files_come_whole_or_as_a_size(path):
    assert bytes(read_small(str(path), 10)) == b"0123456789"
    assert read_small(str(path), 9) == 10


def test_what_is_no_file_is_an_error_and_never_hangs(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        SourceFile(str(tmp_path / "pipe"))


def test_what_was_changed_a_moment_ago_is_looked_at_once_more_a_tick_later(path, monkeypatch):
    """The stamps are set before a call has written its bytes."""
    looks = []

    def settle(look):
        looks.append(look())
        path.write_bytes(b"new")  # the call that was under way ends
        return look(), True

    monkeypatch.setattr("mountd.stores.local_version.settle", settle)
    assert bytes(read_small(str(path), 100)) == b"new"
    assert len(looks) == 1
