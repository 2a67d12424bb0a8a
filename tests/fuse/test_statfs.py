"""statfs(2) and df. SEMANTICS: "Capacity"."""

import os
import shutil
import subprocess

import pytest

from mountd.fuse import mount_table

pytestmark = [pytest.mark.fuse, pytest.mark.both_engines]


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module({"file": b"x", "dir/file": b"y"}, source="account/container")


@pytest.mark.parametrize("name", ["", "file", "dir", "dir/file"])
def test_the_capacity_is_nominal_and_never_full(server, name):
    found = os.statvfs(server.path / name)
    assert found.f_frsize * found.f_blocks == 1 << 50
    assert found.f_bavail == found.f_bfree == found.f_blocks
    assert found.f_files == found.f_ffree > 0
    assert found.f_bsize == found.f_frsize == 4096
    assert found.f_namemax == 255
    assert found.f_flag & os.ST_RDONLY
    assert found.f_flag & os.ST_NOSUID
    assert found.f_flag & os.ST_NODEV


def test_an_open_file_answers_too(server):
    with (server.path / "file").open("rb") as opened:
        assert os.fstatvfs(opened.fileno()).f_namemax == 255


def test_asking_costs_no_request(server):
    os.stat(server.path / "dir")
    with server.store_calls() as made:
        os.statvfs(server.path / "dir")
    assert made == {}


def test_df_shows_the_source_and_the_type(server):
    done = subprocess.run(
        ["df", "--output=source,fstype,pcent", str(server.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1].split() == ["account/container", "fuse.mountd", "0%"]


def test_pathconf(server):
    assert os.pathconf(server.path, "PC_NAME_MAX") == 255


def test_python_s_own_question(server):
    assert shutil.disk_usage(server.path).free == 1 << 50


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("a,b\\c d", "a,b\\c d"),
        ("https://host/container/é\udcff", "https://host/container/%C3%A9%FF"),
        ("", "mountd"),
        ("tab\there\nline", "tab%09here%0Aline"),
        ("x" * 5000, "x" * 1000),
        (",\\" * 1000, ",\\" * 500),
    ],
)
def test_any_source_can_be_shown_in_the_mount_table(serve, source, shown):
    server = serve({"file": b"x"}, source=source)
    assert (server.path / "file").read_bytes() == b"x"
    assert mount_table.mount_at(str(server.path)).source == shown
