"""Extended attributes: there are none, and programs that ask cope. SEMANTICS: "Extended attributes"."""

import errno
import os
import shutil
import subprocess

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.both_engines]


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module({"file": b"x", "dir/file": b"y"})


@pytest.mark.parametrize("name", ["", "file", "dir"])
@pytest.mark.parametrize("attribute", ["user.x", "security.capability", "system.posix_acl_access", "trusted.x"])
def test_reading_one(server, name, attribute):
    with pytest.raises(OSError) as caught:
        os.getxattr(server.path / name, attribute)
    assert caught.value.errno in {errno.EOPNOTSUPP, errno.ENODATA}


@pytest.mark.parametrize("name", ["", "file", "dir"])
def test_listing_them(server, name):
    with pytest.raises(OSError) as caught:
        os.listxattr(server.path / name)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_asking_costs_the_daemon_nothing_after_the_first_time(server):
    os.stat(server.path / "file")
    with server.store_calls() as made:
        for _ in range(10):
            with pytest.raises(OSError):
                os.getxattr(server.path / "file", "user.x")
    assert made == {}


def test_programs_that_keep_attributes_cope(server, tmp_path):
    shutil.copystat(server.path / "file", tmp_path)
    shutil.copytree(server.path, tmp_path / "tree")
    subprocess.run(["cp", "-a", server.path, tmp_path / "copy"], check=True, capture_output=True)
    listed = subprocess.run(["ls", "-la", server.path], check=True, capture_output=True, text=True)
    assert listed.stderr == ""
    assert (tmp_path / "copy" / "dir" / "file").read_bytes() == b"y"
