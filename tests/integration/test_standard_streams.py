"""Standard streams that are closed, or lead to where nothing can be written: what is done is done all the same."""

import subprocess

import pytest

from tests.support.mounts import PROGRAM

pytestmark = pytest.mark.fuse


def test_standard_streams_that_lead_nowhere_change_nothing(mountd, local_source, point):
    """A closed one is none to Python, and its number that of the next file."""
    for closed in (">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"):
        command = f'exec "$0" mount "$1" "$2" {closed}'
        done = subprocess.run(
            ["sh", "-c", command, PROGRAM, local_source, point], env=mountd.environ, timeout=60, check=False
        )
        assert done.returncode == 0, closed
        assert (point / "a.txt").read_text() == "hello\n"
        mountd.run("unmount", point, check=0)


def test_what_cannot_be_said_keeps_no_mount(mountd, local_source, tmp_path):
    points = [tmp_path / "one", tmp_path / "two"]
    for point in points:
        mountd.mount(local_source, point)
    command = 'exec "$0" unmount "$1" "$2" >/dev/full'
    subprocess.run(["sh", "-c", command, PROGRAM, *points], env=mountd.environ, timeout=60, check=True)
    assert mountd.mounts() == []


@pytest.mark.parametrize(("words", "status"), [("list --nope", 2), ("status /nowhere", 3)])
def test_an_error_that_cannot_be_said_has_its_exit_status(mountd, words, status):
    command = f'exec "$0" {words} 2>/dev/full'
    assert subprocess.run(["sh", "-c", command, PROGRAM], env=mountd.environ, check=False).returncode == status


def test_output_that_does_not_fit_is_an_error_of_one_line(mountd):
    command = 'exec "$0" list >/dev/full'
    done = subprocess.run(
        ["sh", "-c", command, PROGRAM], env=mountd.environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        5, "mountd: error: no space left on the device of what the output goes to; make some and try again\n",
    )  # fmt: skip
