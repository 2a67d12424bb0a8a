"""The same commands as a user without privileges: FUSE through fusermount3, and users who do not see each other."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.mounts import mounted_below
from tests.support.other_user import NOBODY

pytestmark = [pytest.mark.fuse, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")]


def test_a_user_mounts_reads_and_unmounts(user):
    user.run("mount", "source", "point")
    assert user.shell("cat point/a.txt") == "hello\n"
    assert user.shell("stat -c %u:%g point/a.txt") == f"{NOBODY}:{NOBODY}\n"
    (record,) = json.loads(user.run("status", "--json").stdout)
    assert (record["state"], record["mountpoint"]) == ("ready", f"{user.directory}/point")
    assert record["statistics"]["bytes_read"] == 6
    user.run("unmount", "point")
    assert user.mounts() == []


def test_the_kernels_refusal_to_tune_is_shown(user):
    user.run("mount", "source", "point")
    assert "kernel default: Permission denied" in user.run("status").stdout


def test_a_busy_mount_of_a_user(user):
    user.run("mount", "source", "point")
    holder = subprocess.Popen(
        user.command("sh", "-c", "cd point && echo in && exec sleep 60"), stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "in\n"
        said = user.run("unmount", "point", check=6).stderr
        assert f"used by pid {holder.pid} (sleep 60, working directory)" in said
        user.run("unmount", "point", "--lazy")
        assert user.mounts() == []
    finally:
        holder.kill()
        holder.communicate()


def test_a_killed_worker_of_a_user_is_replaced(user):
    user.run("mount", "source", "point")
    (record,) = json.loads(user.run("list", "--json").stdout)
    user.shell(f"kill -9 {record['worker_pid']}")
    for _ in range(50):
        (record,) = json.loads(user.run("list", "--json").stdout)
        if record["restarts"] == 1 and record["state"] == "ready":
            break
    assert user.shell("cat point/a.txt") == "hello\n"


def test_what_fusermount_unmounts_is_over(user):
    user.run("mount", "source", "point")
    user.shell("fusermount3 -u point")
    for _ in range(50):
        if user.run("list").stdout == "nothing is mounted\n":
            break
    assert user.run("unmount", "point", check=3).stderr.startswith("mountd: error: nothing is mounted at ")


def test_users_register_where_nobody_else_looks(user, mountd):
    user.run("mount", "source", "point")
    runtime = user.directory / f"mountd-{NOBODY}"
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in runtime.glob("*.sock")} == {0o600}
    assert mountd.records() == []
    assert mounted_below(user.directory) == []


def test_a_runtime_directory_that_somebody_else_made_is_refused(user):
    (user.directory / f"mountd-{NOBODY}").mkdir(mode=0o777)
    said = user.run("mount", "source", "point", check=4).stderr
    assert "belongs to user 0" in said


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["mount", "--allow-other", "source", "point"], 2, "user_allow_other"),
        (["mount", "source", "/root/point"], 4, "no permission"),
        (["mount", "source", "closed"], 4, "not writable"),
    ],
)
def test_what_a_user_may_not_do(user, arguments, status, said):
    user.shell("mkdir closed && chmod 555 closed")
    if "--allow-other" in arguments and "\nuser_allow_other" in Path("/etc/fuse.conf").read_text():
        pytest.skip("this node lets users allow others")
    assert said in user.run(*arguments, check=status).stderr


def test_a_node_without_fusermount3(user):
    said = user.run("mount", "source", "point", check=5, PATH="/nonexistent").stderr
    assert "fusermount3 is not on the PATH; install it (`apt-get install fuse3`)" in said


def test_a_closed_fuse_device(user):
    (user.directory / "fuse").chmod(0o600)
    said = user.run("mount", "source", "point", check=4).stderr
    assert f"/dev/fuse may not be opened by user {NOBODY}" in said


@pytest.mark.parametrize("command", ["show", "verify", "clear"])
def test_the_cache_of_another_user(user, tmp_path_factory, command):
    directory = tmp_path_factory.mktemp("roots")
    directory.chmod(0o700)
    said = user.run("cache", command, "--cache-dir", directory, check=4).stderr
    assert said.startswith(f"mountd: error: cache directory {directory}: Permission denied; it may be another user's")
