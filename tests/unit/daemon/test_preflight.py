import os
from pathlib import Path

import pytest

from mountd.daemon import preflight
from mountd.daemon.preflight import check_node
from mountd.errors import DeniedError, SetupError, UsageError

WITH_ADMIN = "Name:\tx\nCapEff:\t000001ffffffffff\n"
WITHOUT_ADMIN = "Name:\tx\nCapEff:\t00000000a80425fb\n"  # what Docker gives


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Return a function that checks a node of the test's own making; in order unless told otherwise."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fusermount3").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "fusermount3").chmod(0o755)
    (tmp_path / "fuse").touch()
    (tmp_path / "fuse.conf").write_text("# user_allow_other\n")
    (tmp_path / "mtab").symlink_to("/proc/self/mounts")
    (tmp_path / "status").write_text(WITH_ADMIN)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def check(*, root=True, allow_other=False, device=tmp_path / "fuse"):
        monkeypatch.setattr(preflight.os, "geteuid", lambda: 0 if root else 1000)
        files = {name: tmp_path / name for name in ("mtab", "status")}
        check_node(allow_other=allow_other, device=device, fuse_conf=tmp_path / "fuse.conf", **files)

    check.directory = tmp_path
    return check


@pytest.mark.parametrize("root", [True, False])
def test_a_node_in_order_passes(node, root):
    node(root=root)


@pytest.mark.fuse
def test_this_node_passes():
    check_node(allow_other=os.geteuid() == 0)


def test_a_user_needs_the_table_of_mounts_to_unmount(node):
    (node.directory / "mtab").unlink()
    with pytest.raises(SetupError, match=r"mtab is missing.*ln -s /proc/self/mounts"):
        node(root=False)
    node(root=True)


def test_a_missing_device_says_how_to_get_it(node):
    with pytest.raises(SetupError) as caught:
        node(device=Path("/nonexistent/fuse"))
    for hint in ("/nonexistent/fuse does not exist", "modprobe fuse", "apt-get install fuse3", "--device /dev/fuse"):
        assert hint in caught.value.message


def test_a_device_that_may_not_be_opened_says_so(node, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(preflight.os, "open", refuse)
    with pytest.raises(DeniedError, match=r"may not be opened by user 1000.*--cap-add SYS_ADMIN"):
        node(root=False)


def test_a_device_without_a_driver_says_so(node):
    os.mkfifo(node.directory / "pipe")
    with pytest.raises(SetupError, match="does not work"):
        node(device=node.directory)


def test_root_without_the_capability_is_told_how_containers_get_it(node):
    (node.directory / "status").write_text(WITHOUT_ADMIN)
    with pytest.raises(SetupError, match=r"lacks the capability SYS_ADMIN.*--cap-add SYS_ADMIN"):
        node()
    node(root=False)


def test_users_need_fusermount_and_root_does_not(node):
    (node.directory / "bin" / "fusermount3").unlink()
    node()
    with pytest.raises(SetupError, match=r"fusermount3 is not on the PATH; install it \(`apt-get install fuse3`\)"):
        node(root=False)


def test_users_may_allow_others_only_where_the_node_says_so(node):
    node(root=True, allow_other=True)
    with pytest.raises(UsageError, match=r"add the line user_allow_other to .*fuse\.conf"):
        node(root=False, allow_other=True)
    (node.directory / "fuse.conf").write_text("mount_max = 10\n  user_allow_other  \n")
    node(root=False, allow_other=True)
    (node.directory / "fuse.conf").unlink()
    with pytest.raises(UsageError):
        node(root=False, allow_other=True)
