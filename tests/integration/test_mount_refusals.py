"""`mountd mount` where it must refuse: one line that names the thing and the fix."""

import os
import re
import subprocess

import pytest

from tests.support.mounts import PROGRAM

pytestmark = pytest.mark.fuse


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# ---- refusals


def refused(mountd, status, pattern, *arguments):
    """Check that a mount is refused in one line and leaves nothing."""
    done = mountd.run("mount", *arguments, check=status)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("mountd: error: ")
    assert re.search(pattern, line), line
    assert mountd.mounts() == []
    mountd.wait_until(lambda: not mountd.processes(), "no process")


def test_a_source_that_is_not_there(mountd, point):
    refused(mountd, 3, "no such file or directory", "/nonexistent/dir", point)
    assert not point.exists()


def test_a_path_in_a_datastore_that_is_not_there(mountd, local_source, point, tmp_path):
    mountd.run("workspace", "init", check=0)
    done = mountd.run("mount", "azureml://datastores/workspaceblobstore/paths/none", point, check=3)
    assert "none" in done.stderr
    assert not point.exists()
    refused(mountd, 3, "nosuch", "azureml://datastores/nosuch", point)


def test_a_mount_point_that_is_not_empty(mountd, local_source, point):
    point.mkdir()
    (point / "mine").touch()
    refused(mountd, 2, rf"{point} is not empty \(it holds 'mine'\)", local_source, point)
    assert (point / "mine").exists()


def test_a_mount_point_that_is_a_file(mountd, local_source, point):
    point.touch()
    refused(mountd, 2, f"{point} is not a directory", local_source, point)


def test_no_mount_point_is_not_the_current_directory(mountd, local_source):
    refused(mountd, 2, "is empty", local_source, "")
    assert "is empty" in mountd.run("unmount", "", check=2).stderr


def test_a_mount_point_whose_parent_is_missing(mountd, local_source, point):
    refused(mountd, 2, f"{point} does not exist", local_source, point / "sub")
    assert not point.exists()


def test_writing_and_bad_options_are_refused(mountd, local_source, point):
    refused(mountd, 2, "--rw", "--rw", local_source, point)
    refused(mountd, 2, "-o rw", "-o", "rw", local_source, point)
    refused(mountd, 2, "--memory", "--memory", "1", local_source, point)
    refused(mountd, 2, "nonsense", "-o", "nonsense=1", local_source, point)


def test_a_mount_point_inside_what_it_shows_is_refused(mountd, local_source):
    refused(mountd, 2, "lies inside", local_source, local_source / "inside")
    assert not (local_source / "inside").exists()


@pytest.mark.parametrize(
    "arguments",
    [["mount"], ["mount", "a"], ["mount", "--bogus", "a", "b"], ["unmount"], ["unmount", "--all", "x"], ["nonsense"]],
)
def test_a_command_line_that_makes_no_sense(mountd, arguments):
    said = mountd.run(*arguments, check=2).stderr
    assert said.startswith("mountd: error: ")
    assert said.count("\n") == 1


def test_nothing_to_unmount(mountd, point):
    done = mountd.run("unmount", point, check=3)
    assert done.stderr == f"mountd: error: nothing is mounted at {point}; `mountd list` shows what there is\n"


def test_a_runtime_directory_that_others_can_write_to(mountd, local_source, point):
    mountd.runtime.mkdir()
    mountd.runtime.chmod(0o777)
    refused(mountd, 4, "open to others", local_source, point)
    mountd.runtime.chmod(0o700)


def test_a_mount_that_is_there_already(mountd, local_source, point):
    mountd.mount(local_source, point)
    done = mountd.run("mount", local_source / "sub", point, check=6)
    assert f"{point} already has {local_source} mounted on it" in done.stderr
    assert (point / "a.txt").exists()
    assert len(mountd.mounts()) == 1


@needs_root
def test_a_mount_of_another_kind_that_is_there_already(mountd, local_source, point):
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], check=True)
    try:
        done = mountd.run("mount", local_source, point, check=6)
        assert "tmpfs" in done.stderr
        done = mountd.run("unmount", point, check=3)
        assert "is not mountd's but tmpfs" in done.stderr
        assert len(mountd.mounts()) == 1
    finally:
        subprocess.run(["umount", point], check=True)


def test_two_mounts_that_race_for_one_path(mountd, local_source, point):
    commands = [mountd.start("mount", local_source, point, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [command.communicate(timeout=60)[1] for command in commands]
    assert sorted(command.returncode for command in commands) == [0, 6, 6], errors
    assert len(mountd.mounts()) == 1
    assert (point / "a.txt").read_text() == "hello\n"


# ---- what a node may lack


def unshared(mountd, before, *arguments):
    """Run mountd in a mount namespace of its own after the shell command `before`."""
    script = f'{before} && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=mountd.directory,
        env=mountd.environ,
        check=False,
    )


@needs_root
def test_no_fuse_device(mountd, local_source, point):
    hide = "mkdir dev && mount --rbind /dev dev && mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3"
    done = unshared(mountd, hide, "mount", local_source, point)
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert "/dev/fuse does not exist" in line
    assert "--device /dev/fuse --cap-add SYS_ADMIN" in line
    assert not point.exists()


@needs_root
def test_no_capability_to_mount(mountd, local_source, point):
    done = subprocess.run(
        ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", PROGRAM, "mount", local_source, point],
        capture_output=True,
        text=True,
        timeout=60,
        env=mountd.environ,
        check=False,
    )
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert "capability SYS_ADMIN" in line
    assert not point.exists()
