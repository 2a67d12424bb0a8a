"""Every call that would change something ends in EROFS and changes nothing. SEMANTICS: "Writing"."""

import ctypes
import errno
import fcntl
import os
import shutil
import socket
import subprocess

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.both_engines]

LIBC = ctypes.CDLL(None, use_errno=True)
OBJECTS = {"file": b"content", "dir/inner": b"inner"}


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module(OBJECTS)


def fallocate(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fallocate(fd, 0, 100)
    finally:
        os.close(fd)


def ftruncate(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def write(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.write(fd, b"x")
    finally:
        os.close(fd)


def bind(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)


def tmpfile(path):
    os.close(os.open(path, os.O_TMPFILE | os.O_RDWR))


def exchange(path):
    if LIBC.renameat2(-100, os.fsencode(path), -100, os.fsencode(os.path.dirname(path) + "/dir"), 2) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


REFUSED = {
    "open for writing": lambda root: os.open(f"{root}/file", os.O_WRONLY),
    "open for both": lambda root: os.open(f"{root}/file", os.O_RDWR),
    "open to append": lambda root: os.open(f"{root}/file", os.O_WRONLY | os.O_APPEND),
    "open and truncate": lambda root: os.open(f"{root}/file", os.O_RDONLY | os.O_TRUNC),
    "create": lambda root: os.open(f"{root}/new", os.O_WRONLY | os.O_CREAT),
    "create to read": lambda root: os.open(f"{root}/new", os.O_RDONLY | os.O_CREAT),
    "create in a directory": lambda root: os.open(f"{root}/dir/new", os.O_RDWR | os.O_CREAT | os.O_EXCL),
    "mkdir": lambda root: os.mkdir(f"{root}/new"),
    "rmdir": lambda root: os.rmdir(f"{root}/dir"),
    "unlink": lambda root: os.unlink(f"{root}/file"),
    "rename": lambda root: os.rename(f"{root}/file", f"{root}/moved"),
    "rename over another": lambda root: os.rename(f"{root}/file", f"{root}/dir/inner"),
    "rename a directory": lambda root: os.rename(f"{root}/dir", f"{root}/moved"),
    "exchange": lambda root: exchange(f"{root}/file"),
    "symlink": lambda root: os.symlink("target", f"{root}/new"),
    "link": lambda root: os.link(f"{root}/file", f"{root}/new"),
    "mkfifo": lambda root: os.mkfifo(f"{root}/new"),
    "bind a socket": lambda root: bind(f"{root}/new"),
    "chmod": lambda root: os.chmod(f"{root}/file", 0o600),
    "chmod the root": lambda root: os.chmod(root, 0o700),
    "chown": lambda root: os.chown(f"{root}/file", os.getuid(), os.getgid()),
    "utime": lambda root: os.utime(f"{root}/file"),
    "utime to a time": lambda root: os.utime(f"{root}/file", (1, 2)),
    "truncate": lambda root: os.truncate(f"{root}/file", 0),
    "setxattr": lambda root: os.setxattr(f"{root}/file", "user.name", b"value"),
    "removexattr": lambda root: os.removexattr(f"{root}/file", "user.name"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_with_erofs(server, what):
    with pytest.raises(OSError) as caught:
        REFUSED[what](str(server.path))
    assert caught.value.errno == errno.EROFS


@pytest.mark.parametrize(
    ("call", "expected"),
    [(fallocate, errno.EBADF), (ftruncate, errno.EINVAL), (write, errno.EBADF)],
)
def test_a_descriptor_opened_to_read_is_not_written_to(server, call, expected):
    with pytest.raises(OSError) as caught:
        call(str(server.path / "file"))
    assert caught.value.errno == expected


def test_an_unnamed_file_cannot_be_made(server):
    with pytest.raises(OSError) as caught:
        tmpfile(str(server.path))
    assert caught.value.errno in {errno.EROFS, errno.EOPNOTSUPP}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda root: os.mkdir(f"{root}/dir"), errno.EEXIST),
        (lambda root: os.unlink(f"{root}/missing"), errno.ENOENT),
        (lambda root: os.rename(f"{root}/file", "/tmp/elsewhere"), errno.EXDEV),
        (lambda root: os.open(f"{root}/file", os.O_WRONLY | os.O_CREAT | os.O_EXCL), errno.EEXIST),
    ],
    ids=["mkdir", "unlink", "rename away", "create"],
)
def test_what_would_fail_anyway_fails_for_its_own_reason(server, call, expected):
    with pytest.raises(OSError) as caught:
        call(str(server.path))
    assert caught.value.errno in {expected, errno.EROFS}


def test_programs_say_read_only(server):
    for command in (["touch", "file"], ["rm", "-f", "file"], ["mkdir", "new"], ["cp", "/etc/hostname", "new"]):
        done = subprocess.run(command, cwd=server.path, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr
    with pytest.raises(OSError, match="Read-only"):
        shutil.rmtree(server.path / "dir")


def test_nothing_has_changed(server):
    for call in REFUSED.values():
        with pytest.raises(OSError, match="Read-only"):
            call(str(server.path))
    assert {key: server.call("info", key=key)["size"] for key in OBJECTS} == {"file": 7, "dir/inner": 5}
    assert sorted(os.listdir(server.path)) == ["dir", "file"]
    assert (server.path / "file").read_bytes() == b"content"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_also_after_somebody_remounted_it_writable(serve):
    server = serve(OBJECTS)
    # The newer of the two system calls refuses it, which is what mount(8) takes from util-linux 2.39 on.
    older = {**os.environ, "LIBMOUNT_FORCE_MOUNT2": "always"}
    subprocess.run(["mount", "-i", "-o", "remount,rw", str(server.path)], env=older, check=True)
    os.listdir(server.path)
    for what, call in REFUSED.items():
        with pytest.raises(OSError) as caught:
            call(str(server.path))
        assert caught.value.errno == errno.EROFS, what
    assert (server.path / "file").read_bytes() == b"content"


def test_flags_of_an_open_file(server):
    with (server.path / "file").open("rb") as opened:
        flags = fcntl.fcntl(opened, fcntl.F_GETFL)
        assert flags & os.O_ACCMODE == os.O_RDONLY
        fcntl.fcntl(opened, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        assert opened.read() == b"content"
