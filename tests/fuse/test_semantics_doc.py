"""`docs/SEMANTICS.md` itself: its tables are tried on a real mount, its sections are kept by tests that name them.

SEMANTICS: "Errors" and "Numbers".
"""

import ctypes
import errno
import fcntl
import mmap
import os
import re
import stat
import termios
from pathlib import Path

import pytest

from mountd.aio import abreast, retry
from mountd.cache import kept
from mountd.config.mount_options import MountOptions
from mountd.fuse import session
from mountd.tree import names, namespace
from mountd.vfs import filesystem, lookahead, opens, scans

pytestmark = pytest.mark.fuse

TESTS = Path(__file__).parent
PAGE = (TESTS.parents[1] / "docs" / "SEMANTICS.md").read_text("utf-8")
SECTIONS = set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE))
ABOUT_ALL = {"Tenets"}


def table(mark):
    """Return the rows of the table after the comment `mark`, without its head."""
    lines = PAGE.partition(f"<!-- {mark} -->\n")[2].splitlines()
    rows = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return rows


def named_by(path):
    """Return the sections that a test module's docstring names."""
    text = re.match(r'"""(.*?)"""', path.read_text("utf-8"), re.DOTALL)[1]
    return set(re.findall(r'"([^"]+)"', " ".join(text.partition("SEMANTICS:")[2].split())))


def test_every_module_names_sections_that_exist():
    for path in sorted(TESTS.glob("test_*.py")):
        assert named_by(path), path.name
        assert named_by(path) <= SECTIONS, path.name


def test_every_section_is_kept_by_a_test():
    assert set().union(*map(named_by, TESTS.glob("test_*.py"))) == SECTIONS - ABOUT_ALL


def test_the_numbers_are_those_of_the_code():
    defaults = MountOptions(memory_bytes=0, cache_dir="", uid=0, gid=0)
    assert dict(table("numbers")) == {
        "time to live": f"{defaults.attr_ttl_s:g} s",
        "deadline of a request": f"{defaults.request_deadline_s:g} s",
        "address at which nothing ever answered": f"{retry.UNREACHED_S:g} s",
        "nonsense in a row": f"{retry.NONSENSE_TRIES} times",
        "fetched whole by `open`": f"{opens.WHOLE_AT_OPEN >> 20} MiB",
        "fetched of larger files by `open`": f"{opens.START_AT_OPEN >> 20} MiB",
        "small files fetched ahead of one who opens them in order": (
            f"up to {scans.LARGEST_WINDOW}, or {lookahead.AHEAD_BYTES >> 20} MiB"
        ),
        "of those, on their way at once in a mount": f"up to {abreast.MOST}",
        "kept for who may come": f"{kept.EARLY_S:g} s",
        "longest name": f"{names.LONGEST_NAME} bytes",
        "capacity shown": f"{filesystem.NOMINAL_BYTES >> 50} PiB",
        "time to end for requests under way": f"{session.FINISH_S:g} s",
        "name that starts the listing": f"{namespace.LIST_FROM}",
    }


def on_file(call, flags=os.O_RDONLY):
    """Return a call of the root that runs `call` on the descriptor of an open file."""

    def run(root):
        fd = os.open(f"{root}/file", flags)
        try:
            call(fd)
        finally:
            os.close(fd)

    return run


def on_directory(call):
    def run(root):
        fd = os.open(root, os.O_RDONLY)
        try:
            call(fd)
        finally:
            os.close(fd)

    return run


def opening(name, flags):
    return lambda root: os.open(f"{root}/{name}", flags)


def access_to_write(root):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.access(os.fsencode(f"{root}/file"), os.W_OK) != 0:
        raise OSError(ctypes.get_errno(), "access")


CALLS = {
    "`open` of a missing name": opening("missing", os.O_RDONLY),
    "`open` below a missing directory": opening("missing/below", os.O_RDONLY),
    "`open` below a file": opening("file/below", os.O_RDONLY),
    "`open` of a name of 256 bytes": opening("n" * 256, os.O_RDONLY),
    "`open` of a file with `O_DIRECTORY`": opening("file", os.O_RDONLY | os.O_DIRECTORY),
    "`open` of a file with `O_CREAT` and `O_EXCL`": opening("file", os.O_RDONLY | os.O_CREAT | os.O_EXCL),
    "`open` of a file to write": opening("file", os.O_RDWR),
    "`open` of a directory to write": opening("dir", os.O_WRONLY),
    "`open` of a new name with `O_CREAT`": opening("new", os.O_WRONLY | os.O_CREAT),
    "`open` with `O_TRUNC`": opening("file", os.O_RDONLY | os.O_TRUNC),
    "`read` of a directory": on_directory(lambda fd: os.read(fd, 1)),
    "`read` of an `O_PATH` descriptor": on_file(lambda fd: os.read(fd, 1), os.O_PATH),
    "`write` to a file open to read": on_file(lambda fd: os.write(fd, b"x")),
    "`ftruncate` of a file open to read": on_file(lambda fd: os.ftruncate(fd, 0)),
    "`truncate`": lambda root: os.truncate(f"{root}/file", 0),
    "`lseek` before the start": on_file(lambda fd: os.lseek(fd, -1, os.SEEK_SET)),
    "`lseek` to data at the end": on_file(lambda fd: os.lseek(fd, 7, os.SEEK_DATA)),
    "`mmap` shared and writable": on_file(lambda fd: mmap.mmap(fd, 7, mmap.MAP_SHARED, mmap.PROT_WRITE)),
    "`ioctl`": on_file(lambda fd: fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))),
    "`mkdir`": lambda root: os.mkdir(f"{root}/new"),
    "`rmdir`": lambda root: os.rmdir(f"{root}/dir"),
    "`unlink`": lambda root: os.unlink(f"{root}/file"),
    "`rename`": lambda root: os.rename(f"{root}/file", f"{root}/new"),
    "`rename` to another file system": lambda root: os.rename(f"{root}/file", f"{root}.elsewhere"),
    "`link`": lambda root: os.link(f"{root}/file", f"{root}/new"),
    "`symlink`": lambda root: os.symlink("file", f"{root}/new"),
    "`mknod`": lambda root: os.mknod(f"{root}/new", stat.S_IFREG | 0o600),
    "`chmod`": lambda root: os.chmod(f"{root}/file", 0o600),
    "`chown`": lambda root: os.chown(f"{root}/file", os.getuid(), -1),
    "`utimensat`": lambda root: os.utime(f"{root}/file"),
    "`setxattr`": lambda root: os.setxattr(f"{root}/file", "user.x", b""),
    "`removexattr`": lambda root: os.removexattr(f"{root}/file", "user.x"),
    "`getxattr`": lambda root: os.getxattr(f"{root}/file", "user.x"),
    "`listxattr`": lambda root: os.listxattr(f"{root}/file"),
    "`readlink`": lambda root: os.readlink(f"{root}/file"),
    "`access` with `W_OK`": access_to_write,
    "`fcntl` write lock on a file open to read": on_file(lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX)),
}


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module({"file": b"content", "dir/inner": b"x"})


@pytest.mark.parametrize(("call", "expected"), table("calls"))
def test_a_call_answers_what_the_table_says(server, call, expected):
    with pytest.raises(OSError) as caught:
        CALLS[call](str(server.path))
    assert f"`{errno.errorcode[caught.value.errno]}`" == expected


def test_every_call_that_is_tried_is_in_the_table():
    assert [call for call, _ in table("calls")] == list(CALLS)
