"""What stat(2), statx(2) and access(2) say. SEMANTICS: "Attributes"."""

import ctypes
import os
import stat
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.both_engines]

CONTENT = b"x" * 1234567
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module({"file": CONTENT, "empty": b"", "one": b"1", "page": bytes(4096), "dir/sub/deep": b"deep"})


def test_every_field_of_a_file(server):
    status = os.stat(server.path / "file")
    stored = server.call("info", key="file")
    assert stat.S_ISREG(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o644
    assert status.st_size == len(CONTENT)
    assert status.st_blocks == -(-len(CONTENT) // 512)
    assert status.st_blksize == 4096
    assert status.st_nlink == 1
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert status.st_rdev == 0
    assert status.st_mtime_ns == status.st_ctime_ns == status.st_atime_ns == stored["mtime_ns"]
    assert status.st_dev == os.stat(server.path).st_dev != os.stat(server.path.parent).st_dev


@pytest.mark.parametrize(("name", "size", "blocks"), [("empty", 0, 0), ("one", 1, 1), ("page", 4096, 8)])
def test_blocks_cover_the_size(server, name, size, blocks):
    status = os.stat(server.path / name)
    assert (status.st_size, status.st_blocks) == (size, blocks)


@pytest.mark.parametrize("name", ["", "dir", "dir/sub"])
def test_every_field_of_a_directory(server, name):
    status = os.stat(server.path / name)
    assert stat.S_ISDIR(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o755
    assert status.st_nlink == 2
    assert status.st_size == status.st_blocks == 0
    assert status.st_blksize == 1 << 20  # the C library then lists thousands of entries with one call
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    # An object store's directories have no time of their own: they are as old as the mount.
    assert time.time() - 120 < status.st_mtime <= time.time()
    assert status.st_mtime_ns == status.st_ctime_ns == status.st_atime_ns == os.stat(server.path).st_mtime_ns


def test_the_root_has_the_number_that_the_protocol_gives_it(server):
    assert os.stat(server.path).st_ino == 1
    assert os.stat(server.path / "dir" / "..").st_ino == 1
    assert os.stat(server.path / "dir" / "sub" / "..").st_ino == os.stat(server.path / "dir").st_ino


def test_inode_numbers_tell_names_apart_and_stay(server):
    names = ["", "file", "empty", "one", "dir", "dir/sub", "dir/sub/deep"]
    numbers = [os.stat(server.path / name).st_ino for name in names]
    assert len(set(numbers)) == len(names)
    assert [os.stat(server.path / name).st_ino for name in names] == numbers
    assert {entry.name: entry.inode() for entry in os.scandir(server.path)}["file"] == numbers[1]


def test_stat_lstat_and_fstat_agree(server):
    path = server.path / "file"
    with path.open("rb") as opened:
        assert os.stat(path) == os.lstat(path) == os.fstat(opened.fileno())


def test_reading_leaves_the_times_alone(server):
    before = os.stat(server.path / "one")
    (server.path / "one").read_bytes()
    os.listdir(server.path)
    assert os.stat(server.path / "one") == before


class StatxTime(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_int64), ("nsec", ctypes.c_uint32), ("pad", ctypes.c_int32)]


class Statx(ctypes.Structure):
    _fields_ = [
        ("mask", ctypes.c_uint32),
        ("blksize", ctypes.c_uint32),
        ("attributes", ctypes.c_uint64),
        ("nlink", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("mode", ctypes.c_uint16),
        ("pad", ctypes.c_uint16),
        ("ino", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("blocks", ctypes.c_uint64),
        ("attributes_mask", ctypes.c_uint64),
        *[(name, StatxTime) for name in ("atime", "btime", "ctime", "mtime")],
        ("rest", ctypes.c_char * 128),
    ]


@pytest.mark.parametrize("sync", [0x0000, 0x2000, 0x4000], ids=["as stat", "force sync", "do not sync"])
def test_statx(server, sync):
    libc = ctypes.CDLL(None, use_errno=True)
    found = Statx()
    path = server.path / "file"
    all_fields = 0xFFF
    assert libc.statx(-100, os.fsencode(path), sync, all_fields, ctypes.byref(found)) == 0
    status = os.stat(path)
    assert found.mask & 0x7FF == 0x7FF, "the basic fields are all there"
    assert not found.mask & 0x800, "a birth time is not made up"
    assert (found.mode, found.ino, found.size) == (status.st_mode, status.st_ino, status.st_size)
    assert (found.blocks, found.blksize, found.nlink) == (status.st_blocks, status.st_blksize, status.st_nlink)
    assert (found.uid, found.gid) == (status.st_uid, status.st_gid)
    assert found.mtime.sec * 10**9 + found.mtime.nsec == status.st_mtime_ns


def test_stat_of_what_was_listed_costs_nothing(server):
    os.listdir(server.path)
    with server.store_calls() as made:
        for name in ("file", "empty", "one", "page", "dir"):
            os.stat(server.path / name)
    assert made == {}


def test_access(server):
    assert os.access(server.path / "file", os.R_OK)
    assert os.access(server.path / "dir", os.R_OK | os.X_OK)
    # Nobody may execute it or write to it, whatever the modes say: no x bit, and a read-only file system.
    assert not os.access(server.path / "file", os.X_OK)
    assert not os.access(server.path / "file", os.W_OK)
    assert not os.access(server.path, os.W_OK)
    assert not os.access(server.path / "missing", os.F_OK)


def test_owner_and_modes_are_options(serve):
    server = serve({"file": b"x", "dir/file": b"y"}, uid=1234, gid=5678, file_mode=0o400, dir_mode=0o500)
    for name, mode in (("", 0o500), ("dir", 0o500), ("file", 0o400), ("dir/file", 0o400)):
        status = os.stat(server.path / name)
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 5678, mode)


TRY = """
import os, sys
os.setgid(65534); os.setuid(65534)
try:
    print(os.stat(sys.argv[1]).st_size, open(sys.argv[1], "rb").read())
except OSError as error:
    print(error.errno)
"""


def try_as_nobody(path):
    done = subprocess.run([sys.executable, "-c", TRY, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.split("\n", 1)[0]


@pytest.fixture
def open_tmp_path(tmp_path):
    for path in (tmp_path, *tmp_path.parents):
        if not path.stat().st_mode & 0o001:  # however many directories the temporary one lies below
            path.chmod(0o755)


@as_root
@pytest.mark.usefixtures("open_tmp_path")
def test_other_users_are_kept_out_by_default(serve):
    server = serve({"file": b"x"})
    server.path.parent.chmod(0o755)
    assert try_as_nobody(server.path / "file") == "13"


@as_root
@pytest.mark.usefixtures("open_tmp_path")
@pytest.mark.parametrize(("file_mode", "answer"), [(0o644, "1 b'x'"), (0o600, "13")])
def test_with_allow_other_the_modes_decide(serve, file_mode, answer):
    server = serve({"file": b"x"}, allow_other=True, file_mode=file_mode)
    server.path.parent.chmod(0o755)
    assert try_as_nobody(server.path / "file") == answer
