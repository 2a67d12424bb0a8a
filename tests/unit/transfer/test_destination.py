"""The directory that a download fills: nothing outside it, nothing of the user's lost."""

import shutil

import pytest

from mountd.errors import DeniedError, NotDirectoryError
from mountd.stores.base import ObjectInfo
from mountd.transfer.destination import Destination, Present, Wanted
from mountd.transfer.plan import PlannedDirectory, PlannedFile, Refusal
from mountd.units import ETag


def planned(relative):
    return PlannedFile(ObjectInfo("base/" + relative, 1, 0, ETag('"1"')), relative)


def place(destination, *entries):
    placed = destination.place(entries)
    destination.close()
    return placed


def test_directories_are_made_and_files_wanted(tmp_path):
    destination = Destination(tmp_path / "new" / "target", "s", overwrite=False)
    placed = place(destination, planned("a/b/c"), planned("d"), PlannedDirectory("e/f"))
    assert [(type(item), item.relative) for item in placed] == [(Wanted, "a/b/c"), (Wanted, "d")]
    assert (tmp_path / "new" / "target" / "a" / "b").is_dir()
    assert (tmp_path / "new" / "target" / "e" / "f").is_dir()


def test_a_file_as_target_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotDirectoryError, match="is not a directory"):
        Destination(tmp_path / "file", "s", overwrite=False)
    with pytest.raises(NotDirectoryError, match="not a directory"):
        Destination(tmp_path / "file" / "below", "s", overwrite=False)


def test_what_exists_is_present_or_wanted_again(tmp_path):
    (tmp_path / "a").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    for overwrite, kind in ((False, Present), (True, Wanted)):
        placed = place(Destination(tmp_path, "s", overwrite=overwrite), planned("a"), planned("dangling"))
        assert [type(item) for item in placed] == [kind, kind]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_in_the_way_is_named_and_left_alone(tmp_path, overwrite):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "directory").mkdir()
    destination = Destination(tmp_path, "s", overwrite=overwrite)
    placed = place(destination, planned("file/child"), planned("file/deep/child"), planned("directory"), planned("ok"))
    assert [type(item) for item in placed] == [Refusal, Refusal, Refusal, Wanted]
    assert str(tmp_path / "file") in placed[0].reason
    assert placed[1].reason == placed[0].reason
    assert (tmp_path / "file").read_text() == "mine"


def test_a_link_that_leads_out_is_not_followed_but_one_inside_is(tmp_path):
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    (target / "real").mkdir()
    (target / "out").symlink_to(outside)
    (target / "in").symlink_to("real")
    (target / "gone").symlink_to(outside / "missing")
    placed = place(
        Destination(target, "s", overwrite=True),
        planned("out/x"),
        planned("out/y/z"),
        planned("in/x"),
        planned("gone/x"),
    )
    assert [type(item) for item in placed] == [Refusal, Refusal, Wanted, Refusal]
    assert "leads out" in placed[0].reason
    assert list(outside.iterdir()) == []


def test_a_target_behind_a_link_is_the_users_choice(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    placed = place(Destination(tmp_path / "link", "s", overwrite=False), planned("a/b"))
    assert [type(item) for item in placed] == [Wanted]
    assert (tmp_path / "real" / "a").is_dir()


def test_an_overwriting_run_that_was_interrupted_knows_what_it_did(tmp_path):
    first = Destination(tmp_path, "s", overwrite=True)
    (wanted,) = first.place([planned("a")])
    first.write(wanted, memoryview(b"x"))
    first.close()

    again = Destination(tmp_path, "s", overwrite=True)
    assert again.place([planned("a")]) == [Present(wanted.info, ours=True)]
    again.finish(unfinished=False)
    again.close()
    assert [type(item) for item in place(Destination(tmp_path, "s", overwrite=True), planned("a"))] == [Wanted]


def test_a_target_that_somebody_removed_is_no_error_of_its_own(tmp_path):
    """What could not be written is named one by one."""
    destination = Destination(tmp_path / "t", "s", overwrite=True)
    (wanted,) = destination.place([planned("a/b")])
    destination.write(wanted, memoryview(b"x"))
    shutil.rmtree(tmp_path / "t")
    destination.finish(unfinished=False)
    destination.close()


def test_a_target_that_cannot_be_written_is_denied(tmp_path, monkeypatch):
    # Root may write anywhere, so the kernel's answer is given here.
    monkeypatch.setattr("mountd.transfer.destination.os.access", lambda _path, _mode: False)
    with pytest.raises(DeniedError, match="permission denied"):
        Destination(tmp_path, "s", overwrite=False)


def test_the_directories_that_got_new_names_are_synced_and_no_others(tmp_path, monkeypatch):
    (tmp_path / "old" / "skipped").mkdir(parents=True)
    (tmp_path / "old" / "skipped" / "f").touch()
    destination = Destination(tmp_path, "s", overwrite=False)
    for item in destination.place([planned("old/skipped/f"), planned("old/new/f"), PlannedDirectory("empty/deep")]):
        if isinstance(item, Wanted):
            destination.write(item, memoryview(b"x"))
    synced = []
    monkeypatch.setattr(destination, "_sync_directory", lambda path: synced.append(str(path.relative_to(tmp_path))))
    destination.finish(unfinished=False)
    assert sorted(synced) == [".", "empty", "old", "old/new"]
    destination.close()
