"""What an interrupted download had finished, read back after all that can happen to a journal."""

import os

import msgspec
import pytest

from mountd.transfer import journal as journal_module
from mountd.transfer.journal import PartIdentity, RangeJournal, RunJournal

IDENTITY = PartIdentity(store="s", key="k", etag='"1"', size=45, range_bytes=10, inode=7)


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".k.mountd-journal"


def finished(path, identity=IDENTITY):
    resumed = RangeJournal.resume(path, identity)
    if resumed is None:
        return None
    journal, ranges = resumed
    os.close(journal.descriptor)
    return ranges


def write(path, numbers, synced=None):
    journal = RangeJournal.create(path, IDENTITY)
    for number in numbers:
        journal.record(number)
    if synced is not None:
        journal.record_synced(synced)
    os.close(journal.descriptor)


def test_records_are_read_back(path):
    write(path, [4, 0, 2])
    assert finished(path) == {0, 2, 4}


def test_a_resumed_journal_goes_on(path):
    write(path, [4])
    journal, ranges = RangeJournal.resume(path, IDENTITY)
    assert ranges == {4}
    assert journal.record(1) == 2
    os.close(journal.descriptor)
    assert finished(path) == {1, 4}


@pytest.mark.parametrize(
    "change",
    [{"etag": '"2"'}, {"size": 46}, {"key": "other"}, {"store": "other"}, {"range_bytes": 20}, {"inode": 8}],
)
def test_a_journal_about_anything_else_does_not_count(path, change):
    write(path, [0])
    assert finished(path, msgspec.structs.replace(IDENTITY, **change)) is None


def test_no_journal_and_a_broken_head_are_none(path):
    assert finished(path) is None
    path.write_bytes(b"{not json\nr 1\n")
    assert finished(path) is None
    path.write_bytes(b"")
    assert finished(path) is None


def test_a_torn_record_is_left_out_and_the_next_run_can_append(path):
    write(path, [0, 1])
    with path.open("ab") as file:
        file.write(b"r 4")  # of "r 4\n", or of "r 40\n": nobody knows
    journal, ranges = RangeJournal.resume(path, IDENTITY)
    assert ranges == {0, 1}
    journal.record(3)
    os.close(journal.descriptor)
    assert finished(path) == {0, 1, 3}


@pytest.mark.parametrize("line", [b"r 5", b"r -1", b"x 1", b"r ", b"s 9", b"\xff"])
def test_what_no_writer_writes_ends_the_reading(path, line):
    write(path, [0])
    with path.open("ab") as file:
        file.write(line + b"\nr 1\n")
    assert finished(path) == {0}


def test_after_a_reboot_only_synced_records_count(path, monkeypatch):
    write(path, [0, 1, 2], synced=2)
    monkeypatch.setattr(journal_module, "_boot_id", lambda: "another boot")
    assert finished(path) == {0, 1}
    # and they are on disk under this boot from now on
    assert finished(path) == {0, 1}


def run_entries(path, source="src"):
    journal = RunJournal(path, source)
    journal.close()
    return journal


def test_a_run_journal_knows_files_that_nobody_touched(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"data")
    journal = RunJournal(tmp_path / "j", "src")
    journal.record("f", '"1"', file.stat())
    journal.close()

    again = run_entries(tmp_path / "j")
    assert again.holds("f", '"1"', 4, file.stat())
    assert not again.holds("f", '"2"', 4, file.stat())
    assert not again.holds("f", '"1"', 5, file.stat())
    assert not again.holds("g", '"1"', 4, file.stat())
    file.write_bytes(b"atad")
    assert not again.holds("f", '"1"', 4, file.stat())


def test_a_run_journal_of_another_source_starts_anew(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"data")
    journal = RunJournal(tmp_path / "j", "src")
    journal.record("f", '"1"', file.stat())
    journal.close()
    assert not run_entries(tmp_path / "j", "other").holds("f", '"1"', 4, file.stat())
    assert not run_entries(tmp_path / "j", "src").holds("f", '"1"', 4, file.stat())


def test_a_run_journal_survives_a_torn_line_and_odd_names(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"data")
    journal = RunJournal(tmp_path / "j", "src\udcff")
    journal.record("a\udcff", '"1"', file.stat())
    journal.close()
    with (tmp_path / "j").open("ab") as torn:
        torn.write(b'["b","\\"1')
    journal = RunJournal(tmp_path / "j", "src\udcff")
    journal.record("c", '"1"', file.stat())
    journal.close()
    again = run_entries(tmp_path / "j", "src\udcff")
    assert again.holds("a\udcff", '"1"', 4, file.stat())
    assert again.holds("c", '"1"', 4, file.stat())
    assert not again.holds("b", '"1"', 4, file.stat())
    again.remove()
    assert not (tmp_path / "j").exists()
