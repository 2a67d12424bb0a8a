"""flock(2) and fcntl(2) locks: kept by the kernel, among the processes of this node. SEMANTICS: "Locks"."""

import fcntl
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.fuse

TRY_FLOCK = """
import fcntl, sys
try:
    fcntl.flock(open(sys.argv[1]), fcntl.LOCK_NB | int(sys.argv[2]))
    print("granted")
except BlockingIOError:
    print("refused")
"""
ASK_FCNTL = """
import fcntl, struct, sys
layout = "hhqqi4x"
asked = struct.pack(layout, fcntl.F_WRLCK, 0, int(sys.argv[2]), 1, 0)
with open(sys.argv[1]) as opened:
    print(struct.unpack(layout, fcntl.fcntl(opened, fcntl.F_GETLK, asked))[0] == fcntl.F_UNLCK)
"""


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module({"file": b"x" * 100})


def in_another_process(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_flock_excludes_other_processes(server):
    path = server.path / "file"
    with path.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        assert in_another_process(TRY_FLOCK, path, fcntl.LOCK_EX) == "refused"
        assert in_another_process(TRY_FLOCK, path, fcntl.LOCK_SH) == "refused"
        fcntl.flock(opened, fcntl.LOCK_SH)
        assert in_another_process(TRY_FLOCK, path, fcntl.LOCK_SH) == "granted"
        assert in_another_process(TRY_FLOCK, path, fcntl.LOCK_EX) == "refused"
    assert in_another_process(TRY_FLOCK, path, fcntl.LOCK_EX) == "granted"


def test_a_directory_can_be_locked(server):
    fd = os.open(server.path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def test_record_locks_cover_ranges(server):
    path = server.path / "file"
    with path.open("rb") as opened:
        fcntl.lockf(opened, fcntl.LOCK_SH, 10, 20)
        assert in_another_process(ASK_FCNTL, path, 25) == "False"
        assert in_another_process(ASK_FCNTL, path, 50) == "True"
        fcntl.lockf(opened, fcntl.LOCK_UN)
        assert in_another_process(ASK_FCNTL, path, 25) == "True"


def test_a_write_lock_needs_a_descriptor_to_write(server):
    with (server.path / "file").open("rb") as opened, pytest.raises(OSError, match="Bad file descriptor"):
        fcntl.lockf(opened, fcntl.LOCK_EX)
