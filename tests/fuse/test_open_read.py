"""open(2) and every way to read, through a real mount. SEMANTICS: "Opening and reading"."""

import array
import ctypes
import errno
import fcntl
import mmap
import os
import random
import select
import shutil
import socket
import termios
import threading

import pytest

from tests.support.versioned_content import versioned

pytestmark = [pytest.mark.fuse, pytest.mark.both_engines]

KIB, MIB = 1 << 10, 1 << 20
SIZES = [0, 1, 511, 4095, 4096, 4097, 64 * KIB, 256 * KIB + 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 123]
BIG = SIZES[-1]


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module({f"f{size}": versioned(1, size) for size in SIZES} | {"dir/inner": b"inner"})


@pytest.fixture
def opened(server):
    """Open files of the mount by name, and close them."""
    numbers = []

    def open_(name, flags=os.O_RDONLY):
        numbers.append(os.open(server.path / name, flags))
        return numbers[-1]

    yield open_
    for number in numbers:
        os.close(number)


@pytest.mark.parametrize("size", SIZES)
def test_pread_at_any_offset_and_length(opened, size):
    content = versioned(1, size)
    fd = opened(f"f{size}")
    draw = random.Random(size)
    offsets = [0, 1, 511, 512, 4095, 4096, 65_535, 65_536, size // 2, max(size - 1, 0), size, size + 1, size + MIB]
    offsets += [draw.randrange(size + 1) for _ in range(20)]
    for offset in [*offsets, 1 << 40, (1 << 62) - 1]:
        for length in (0, 1, 4096, 100_000, 2 * MIB):
            assert os.pread(fd, length, offset) == content[offset : offset + length]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1000, 65_536, 1_000_003])
def test_read_walks_to_the_end_and_stays_there(opened, size, step):
    fd = opened(f"f{size}")
    pieces = []
    while piece := os.read(fd, step):
        pieces.append(piece)
    assert b"".join(pieces) == versioned(1, size)
    assert os.read(fd, step) == b""
    assert os.lseek(fd, 0, os.SEEK_CUR) == size


def test_a_file_read_backwards(opened):
    fd = opened(f"f{BIG}")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    content = versioned(1, BIG)
    for offset in reversed(range(0, BIG, 100_000)):
        assert os.pread(fd, 100_000, offset) == content[offset : offset + 100_000]


def test_lseek(opened):
    fd = opened(f"f{BIG}")
    assert os.lseek(fd, -10, os.SEEK_END) == BIG - 10
    assert os.read(fd, 100) == versioned(1, BIG)[-10:]
    with pytest.raises(OSError) as caught:
        os.lseek(fd, -1, os.SEEK_SET)
    assert caught.value.errno == errno.EINVAL
    # No holes: all of it is data, and the only hole begins at the end.
    assert os.lseek(fd, 5, os.SEEK_DATA) == 5
    assert os.lseek(fd, 5, os.SEEK_HOLE) == BIG
    with pytest.raises(OSError) as caught:
        os.lseek(fd, BIG, os.SEEK_DATA)
    assert caught.value.errno == errno.ENXIO


def test_direct_reads_bypass_the_page_cache(server, opened):
    content = versioned(1, BIG)
    fd = opened(f"f{BIG}", os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, 256 * KIB)  # aligned
    for offset in (0, 4096, MIB, BIG - 123, 512):
        count = os.preadv(fd, [buffer], offset)
        assert count == min(256 * KIB, BIG - offset)
        assert buffer[:count] == content[offset : offset + count]
    assert os.preadv(fd, [buffer], BIG) == 0
    before = server.counters()["reads"]
    os.preadv(fd, [buffer], 0)
    os.preadv(fd, [buffer], 0)
    assert server.counters()["reads"] >= before + 2


def test_scattered_reads(opened):
    fd = opened(f"f{BIG}")
    content = versioned(1, BIG)
    first, second, third = bytearray(10), bytearray(100_000), bytearray(MIB)
    assert os.preadv(fd, [first, second, third], 77) == 10 + 100_000 + MIB
    assert bytes(first + second + third) == content[77 : 77 + 10 + 100_000 + MIB]
    assert os.readv(fd, [first, second]) == 100_010
    assert bytes(first + second) == content[:100_010]


@pytest.mark.parametrize("size", [1, 4097, MIB, BIG])
@pytest.mark.parametrize("flags", [mmap.MAP_SHARED, mmap.MAP_PRIVATE])
def test_mapped_reads(opened, size, flags):
    fd = opened(f"f{size}")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    with mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == versioned(1, size)


def test_a_private_mapping_is_written_to_without_touching_the_file(opened):
    fd = opened("f4097")
    with mmap.mmap(fd, 4097, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        mapped[:3] = b"own"
        assert mapped[:4] == b"own" + versioned(1, 4097)[3:4]
    assert os.pread(fd, 4097, 0) == versioned(1, 4097)


def test_a_shared_mapping_cannot_be_written_to(opened):
    with pytest.raises(PermissionError):
        mmap.mmap(opened("f4096"), 4096, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def test_the_rest_of_the_last_mapped_page_is_zero(opened):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_longlong]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    address = libc.mmap(None, 8192, mmap.PROT_READ, mmap.MAP_SHARED, opened("f4097"), 0)
    try:
        assert ctypes.string_at(address, 8192) == versioned(1, 4097) + bytes(4095)
    finally:
        libc.munmap(address, 8192)


def copy_by_sendfile(source, target):
    offset = 0
    while sent := os.sendfile(target, source, offset, BIG):
        offset += sent


def copy_by_range(source, target):
    """Since Linux 5.19 the kernel refuses to copy between file systems itself; older ones do it."""
    offset = 0
    try:
        while copied := os.copy_file_range(source, target, BIG, offset_src=offset):
            offset += copied
    except OSError as error:
        if error.errno != errno.EXDEV or offset:
            raise
        copy_by_sendfile(source, target)


def copy_by_splice(source, target):
    outlet, inlet = os.pipe()
    offset = 0
    while moved := os.splice(source, inlet, 32 * KIB, offset_src=offset):
        offset += moved
        while moved:
            moved -= os.splice(outlet, target, moved)
    os.close(outlet)
    os.close(inlet)


@pytest.mark.parametrize("copy", [copy_by_sendfile, copy_by_range, copy_by_splice])
def test_copies_inside_the_kernel(opened, tmp_path, copy):
    source = opened(f"f{BIG}")
    os.posix_fadvise(source, 0, 0, os.POSIX_FADV_DONTNEED)
    with (tmp_path / "copy").open("w+b", buffering=0) as target:
        copy(source, target.fileno())
    assert (tmp_path / "copy").read_bytes() == versioned(1, BIG)


@pytest.mark.parametrize("copy", [shutil.copyfile, shutil.copy2])
def test_copies_by_programs(server, tmp_path, copy):
    copy(server.path / f"f{BIG}", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == versioned(1, BIG)


def test_sendfile_to_a_socket(opened):
    ours, theirs = socket.socketpair()
    received = bytearray()

    def drain():
        while data := theirs.recv(1 << 16):
            received.extend(data)

    with ours, theirs:
        reader = threading.Thread(target=drain)
        reader.start()
        with os.fdopen(os.dup(opened(f"f{BIG}")), "rb") as source:
            assert ours.sendfile(source) == BIG
        ours.shutdown(socket.SHUT_WR)
        reader.join()
    assert received == versioned(1, BIG)


def test_buffered_text_and_python_io(server):
    path = server.path / "f4097"
    assert path.read_bytes() == versioned(1, 4097)
    with path.open("rb", buffering=0) as raw:
        buffer = bytearray(5000)
        assert raw.readinto(buffer) == 4097
    assert (server.path / "dir" / "inner").read_text() == "inner"


@pytest.mark.parametrize(
    "flag", ["O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_LARGEFILE", "O_CREAT", "O_SYNC"]
)
def test_flags_that_change_nothing_for_an_existing_file(opened, flag):
    fd = opened("f4096", os.O_RDONLY | getattr(os, flag))
    assert os.pread(fd, 4096, 0) == versioned(1, 4096)


def test_a_path_descriptor_knows_the_file_without_opening_it(server, opened):
    server.wait_until(lambda counters: counters["handles"] == 0)  # the kernel waits for no RELEASE of what was closed
    fd = opened("f4096", os.O_PATH)
    assert os.fstat(fd).st_size == 4096
    assert server.counters()["handles"] == 0
    with pytest.raises(OSError) as caught:
        os.read(fd, 1)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        ("missing", os.O_RDONLY, errno.ENOENT),
        ("missing/below", os.O_RDONLY, errno.ENOENT),
        ("dir/missing", os.O_RDONLY, errno.ENOENT),
        ("f1/below", os.O_RDONLY, errno.ENOTDIR),
        ("f1/", os.O_RDONLY, errno.ENOTDIR),
        ("f1", os.O_RDONLY | os.O_DIRECTORY, errno.ENOTDIR),
        ("dir", os.O_WRONLY, errno.EISDIR),
        ("n" * 256, os.O_RDONLY, errno.ENAMETOOLONG),
        ("é" * 128, os.O_RDONLY, errno.ENAMETOOLONG),
        ("f1", os.O_RDONLY | os.O_CREAT | os.O_EXCL, errno.EEXIST),
    ],
)
def test_opens_that_fail(server, name, flags, expected):
    with pytest.raises(OSError) as caught:
        os.open(f"{server.path}/{name}", flags)
    assert caught.value.errno == expected


def test_a_directory_is_opened_but_not_read(opened):
    with pytest.raises(IsADirectoryError):
        os.read(opened("dir", os.O_RDONLY | os.O_DIRECTORY), 10)


def test_descriptors_made_by_dup_share_the_offset(opened):
    fd = opened("f4097")
    twin = os.dup(fd)
    try:
        assert os.read(fd, 1000) + os.read(twin, 1000) == versioned(1, 4097)[:2000]
        assert os.lseek(fd, 0, os.SEEK_CUR) == 2000
    finally:
        os.close(twin)
    assert os.read(fd, 10) == versioned(1, 4097)[2000:2010]


def test_calls_that_have_nothing_to_do_succeed(opened):
    fd = opened("f4096")
    os.fsync(fd)
    os.fdatasync(fd)
    for advice in ("NORMAL", "SEQUENTIAL", "RANDOM", "WILLNEED", "DONTNEED", "NOREUSE"):
        os.posix_fadvise(fd, 0, 4096, getattr(os, f"POSIX_FADV_{advice}"))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.readahead(fd, ctypes.c_longlong(0), ctypes.c_size_t(4096)) == 0
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    assert waiting.poll(5000) == [(fd, select.POLLIN)]


def test_a_file_is_no_terminal(opened):
    fd = opened("f4096")
    assert not os.isatty(fd)
    with pytest.raises(OSError) as caught:
        fcntl.ioctl(fd, termios.TIOCGWINSZ, array.array("H", [0] * 4))
    assert caught.value.errno == errno.ENOTTY


def test_a_second_read_is_answered_by_the_kernel(server):
    path = server.path / f"f{BIG}"
    path.read_bytes()
    before = server.counters()["reads"]
    for _ in range(3):
        assert path.read_bytes() == versioned(1, BIG)
    assert server.counters()["reads"] == before


def test_a_small_file_costs_one_request_to_the_store(serve):
    server = serve({"small": versioned(1, 100_000)})
    os.listdir(server.path)
    with server.store_calls() as made:
        assert (server.path / "small").read_bytes() == versioned(1, 100_000)
    assert made == {"read": 1}


def test_the_budget_holds_while_much_more_is_read(serve):
    server = serve({f"f{index}": versioned(index, BIG) for index in range(4)}, memory_bytes=MIB)
    wrong = []

    def read_all(index):
        if (server.path / f"f{index % 4}").read_bytes() != versioned(index % 4, BIG):
            wrong.append(index)

    readers = [threading.Thread(target=read_all, args=[index]) for index in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert wrong == []
    counters = server.counters()
    assert 0 < counters["memory_peak"] <= counters["memory_limit"] == MIB
