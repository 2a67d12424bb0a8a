import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mountd.daemon import mountpoint as module
from mountd.daemon.mountpoint import MountPointClaim
from mountd.errors import BusyError, DeniedError, SetupError, UsageError
from mountd.fuse import mount_table

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def claim():
    """Return a function that takes a claim; all are released after the test."""
    taken = []

    def take(path):
        one = MountPointClaim(str(path))
        taken.append(one)
        one.take()
        return one

    yield take
    for one in taken:
        one.release()


def test_a_missing_directory_is_made_and_stays(claim, tmp_path):
    one = claim(tmp_path / "new")
    assert one.held
    assert (tmp_path / "new").is_dir()
    one.release()
    assert not one.held
    assert (tmp_path / "new").is_dir()


def test_a_directory_made_in_vain_is_taken_back(claim, tmp_path):
    claim(tmp_path / "new").release(remove_created=True)
    assert not (tmp_path / "new").exists()


def test_a_directory_that_was_there_is_never_taken_back(claim, tmp_path):
    claim(tmp_path).release(remove_created=True)
    assert tmp_path.is_dir()


def test_a_directory_made_in_vain_that_got_something_in_it_stays(claim, tmp_path):
    one = claim(tmp_path / "new")
    (tmp_path / "new" / "file").touch()
    one.release(remove_created=True)
    assert (tmp_path / "new" / "file").exists()


def test_releasing_twice_is_harmless(claim, tmp_path):
    one = claim(tmp_path / "new")
    one.release()
    two = claim(tmp_path / "new")
    one.release(remove_created=True)
    assert two.held
    assert (tmp_path / "new").is_dir()


def test_two_cannot_claim_one_mount_point(claim, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOCK_PATIENCE_S", 0.1)
    one = claim(tmp_path)
    with pytest.raises(BusyError, match="another mountd is about to mount"):
        claim(tmp_path)
    one.release()
    assert claim(tmp_path).held


def test_a_claim_that_is_about_to_be_released_is_waited_for(claim, tmp_path):
    one = claim(tmp_path)
    threading.Timer(0.2, one.release).start()
    assert claim(tmp_path).held


def test_a_claim_ends_with_its_process(claim, tmp_path):
    script = (
        "import sys; from mountd.daemon.mountpoint import MountPointClaim\n"
        "claim = MountPointClaim(sys.argv[1]); claim.take(); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        other.kill()
    assert claim(tmp_path).held


def test_a_claim_that_nobody_waits_for_any_more_is_given_back_when_it_succeeds(tmp_path):
    one = MountPointClaim(str(tmp_path / "new"))
    one.release()
    one.take()
    assert not one.held
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.touch(), "is not a directory"),
        (lambda path: path.symlink_to("/nonexistent"), "is not a directory"),
        (lambda path: path.symlink_to("/tmp"), "is not a directory"),
        (os.mkfifo, "is not a directory"),
        (lambda path: (path / "sub").mkdir(parents=True), r"is not empty \(it holds 'sub'\)"),
    ],
    ids=["file", "dangling link", "link", "pipe", "full"],
)
def test_anything_but_an_empty_directory_is_refused(claim, tmp_path, make, said):
    make(tmp_path / "point")
    with pytest.raises(UsageError, match=said):
        claim(tmp_path / "point")


def test_a_missing_parent_is_refused(claim, tmp_path):
    with pytest.raises(UsageError, match="none does not exist; create it first"):
        claim(tmp_path / "none" / "point")


def test_a_parent_that_is_a_file_is_refused(claim, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not a directory"):
        claim(tmp_path / "file" / "point")


def test_a_place_where_nothing_can_be_made(claim):
    with pytest.raises((SetupError, UsageError, DeniedError)):
        claim("/proc/1/point")


@needs_root
def test_a_living_mount_is_refused(claim, tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "some-source", tmp_path], check=True)
    try:
        with pytest.raises(BusyError, match=r"already has some-source mounted on it \(tmpfs\)"):
            claim(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_mount_that_came_while_we_waited_for_the_lock_is_seen(claim, tmp_path, monkeypatch):
    """The other one mounts between our first look at the mount table and our lock."""
    looks = iter([None, None, mount_table.MountEntry(9, "0:9", str(tmp_path), "tmpfs", "theirs")])
    monkeypatch.setattr(mount_table, "mount_at", lambda path: next(looks))
    with pytest.raises(BusyError, match="already has theirs mounted"):
        claim(tmp_path)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock was given back
    os.close(handle)


def test_a_file_system_without_locks_is_no_obstacle(claim, tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(module.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    assert claim(tmp_path).held


@pytest.mark.parametrize(("number", "kind"), [(errno.EROFS, DeniedError), (errno.ENAMETOOLONG, UsageError)])
def test_what_the_file_system_does_not_take_is_told_apart(tmp_path, monkeypatch, number, kind):
    def refuse(*_args, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(kind, match=rf"cannot make the mount point .*/new: {os.strerror(number)}"):
        MountPointClaim(str(tmp_path / "new")).take()
