"""Objects that change under readers: always one version, never a mixture. SEMANTICS: "Versions" and "Freshness"."""

import errno
import mmap
import os
import subprocess
import sys
import threading

import pytest

from tests.support.fuse_server import Patience
from tests.support.versioned_content import version_of, versioned

pytestmark = [pytest.mark.fuse, pytest.mark.both_engines]

KIB, MIB = 1 << 10, 1 << 20
SMALL, LARGE = 100 * KIB, 6 * MIB
"""Small files are fetched whole when they are opened; of large ones only the start."""

REQUESTS = 7
"""As many as it takes from a cached name to the first byte when nothing stays as it is."""

# How the second version's size differs from the first one's.
CHANGES = {"same size": 0, "grown": 70_001, "shrunk": -70_001}


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def size(request):
    return request.param


@pytest.fixture(params=[60.0, 0.0], ids=["ttl", "no ttl"])
def ttl_s(request):
    return request.param


def start(serve, size, **options):
    """Return a server with version 1 of `file`."""
    server = serve(**options)
    server.set_version("file", 1, size)
    return server


@pytest.mark.parametrize("change", CHANGES)
def test_replaced_between_stat_and_open(serve, size, ttl_s, change):
    """The kernel opens what it knows by an old inode; that is refused, and it looks the name up again unseen."""
    server = start(serve, size, ttl_s=ttl_s)
    assert os.stat(server.path / "file").st_size == size
    server.set_version("file", 2, size + CHANGES[change])
    with (server.path / "file").open("rb") as opened:
        assert os.fstat(opened.fileno()).st_size == size + CHANGES[change]
        assert opened.read() == versioned(2, size + CHANGES[change])
    assert os.stat(server.path / "file").st_size == size + CHANGES[change]


@pytest.mark.parametrize("change", CHANGES)
def test_replaced_between_open_and_first_read(serve, ttl_s, change):
    server = start(serve, SMALL, ttl_s=ttl_s)
    with (server.path / "file").open("rb") as opened:
        server.set_version("file", 2, SMALL + CHANGES[change])
        assert opened.read() == versioned(1, SMALL)


def test_a_large_file_replaced_between_open_and_first_read(serve, ttl_s):
    server = start(serve, LARGE, ttl_s=ttl_s)
    fd = os.open(server.path / "file", os.O_RDONLY)
    try:
        server.set_version("file", 2, LARGE)
        # What open fetched of the old version is still good. The rest of it is nowhere.
        assert os.pread(fd, 64 * KIB, 0) == versioned(1, LARGE)[: 64 * KIB]
        assert_stale(lambda: os.pread(fd, 64 * KIB, LARGE // 2))
        assert os.fstat(fd).st_size == LARGE
    finally:
        os.close(fd)
    assert (server.path / "file").read_bytes() == versioned(2, LARGE)


def assert_stale(call):
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno == errno.ESTALE


@pytest.mark.parametrize("change", CHANGES)
def test_replaced_between_two_reads(serve, ttl_s, change):
    """Of the handle that had begun, every read gives the old bytes or ESTALE; the next open gives the new ones."""
    server = start(serve, LARGE, ttl_s=ttl_s, memory_bytes=2 * MIB)
    old, new_size = versioned(1, LARGE), LARGE + CHANGES[change]
    fd = os.open(server.path / "file", os.O_RDONLY)
    try:
        assert os.pread(fd, 4096, 0) == old[:4096]
        server.set_version("file", 2, new_size)
        refused = 0
        for offset in range(0, LARGE, 128 * KIB):
            try:
                piece = os.pread(fd, 128 * KIB, offset)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                refused += 1
            else:
                assert piece == old[offset : offset + len(piece)]
                assert piece
        assert refused > 0
        assert (server.path / "file").read_bytes() == versioned(2, new_size)
        assert os.pread(fd, 4096, 0) == old[:4096]
    finally:
        os.close(fd)


def test_an_old_handle_keeps_bytes_that_are_held(serve, size):
    server = start(serve, size, memory_bytes=64 * MIB)
    with (server.path / "file").open("rb") as old:
        assert old.read() == versioned(1, size)
        server.set_version("file", 2, size)
        os.posix_fadvise(old.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        old.seek(0)
        assert old.read() == versioned(1, size)
        os.posix_fadvise(old.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        server.delete("file")
        old.seek(0)
        assert old.read() == versioned(1, size)


def test_two_handles_two_versions(serve, size):
    server = start(serve, size, ttl_s=0)
    with (server.path / "file").open("rb") as old:
        assert old.read(1000) == versioned(1, size)[:1000]
        server.set_version("file", 2, size)
        with (server.path / "file").open("rb") as new:
            assert os.fstat(new.fileno()).st_ino != os.fstat(old.fileno()).st_ino
            for offset in (0, 5000, 0):
                old.seek(offset)
                new.seek(offset)
                assert old.read(1000) == versioned(1, size)[offset : offset + 1000]
                assert new.read(1000) == versioned(2, size)[offset : offset + 1000]


def test_deleted_between_stat_and_open(serve, size, ttl_s):
    server = start(serve, size, ttl_s=ttl_s)
    os.stat(server.path / "file")
    server.delete("file")
    with pytest.raises(FileNotFoundError):
        os.open(server.path / "file", os.O_RDONLY)
    assert not (server.path / "file").exists()


def test_deleted_under_an_open_handle(serve, size):
    server = start(serve, size, ttl_s=0)
    fd = os.open(server.path / "file", os.O_RDONLY)
    try:
        server.delete("file")
        assert not (server.path / "file").exists()
        assert os.pread(fd, 1000, 0) == versioned(1, size)[:1000]
        if size == LARGE:
            assert_stale(lambda: os.pread(fd, 1000, LARGE // 2))
        else:
            assert os.pread(fd, size, 0) == versioned(1, size)
        assert os.fstat(fd).st_size == size
    finally:
        os.close(fd)


def test_deleted_and_created_again(serve, size):
    server = start(serve, size, ttl_s=0.5)
    with (server.path / "file").open("rb") as old:
        server.delete("file")
        wait_until(lambda: not (server.path / "file").exists(), "a deleted object stayed")
        server.set_version("file", 3, size)
        wait_until((server.path / "file").exists, "a new object never showed up")
        assert (server.path / "file").read_bytes() == versioned(3, size)
        assert old.read(1000) == versioned(1, size)[:1000]


def wait_until(condition, what):
    """Return when `condition` holds."""
    patience = Patience(20.0)
    while not condition():
        patience.spend(what)


def test_a_name_that_was_missing_appears_after_its_time_to_live(serve):
    server = serve(ttl_s=0.5)
    assert not (server.path / "file").exists()
    server.set_version("file", 1, SMALL)
    wait_until((server.path / "file").exists, "a new object never showed up")
    assert (server.path / "file").read_bytes() == versioned(1, SMALL)


@pytest.mark.parametrize("listed", [True, False])
def test_a_change_shows_after_the_time_to_live(serve, size, listed):
    server = start(serve, size, ttl_s=0.5)
    if listed:
        os.listdir(server.path)
    assert (server.path / "file").read_bytes() == versioned(1, size)
    server.set_version("file", 2, size + 1)
    wait_until(lambda: os.stat(server.path / "file").st_size == size + 1, "a change never showed up in stat")
    assert (server.path / "file").read_bytes() == versioned(2, size + 1)
    server.set("other", b"")
    wait_until(lambda: sorted(os.listdir(server.path)) == ["file", "other"], "a new object never showed up in ls")
    server.delete("other")
    wait_until(lambda: os.listdir(server.path) == ["file"], "a deleted object never left ls")


def test_within_the_time_to_live_nothing_is_asked(serve):
    server = start(serve, SMALL)
    assert (server.path / "file").read_bytes() == versioned(1, SMALL)
    with server.store_calls() as made:
        for _ in range(5):
            os.stat(server.path / "file")
            assert (server.path / "file").read_bytes() == versioned(1, SMALL)
    assert made == {}


def test_without_a_time_to_live_every_change_shows_at_once(serve, size):
    server = start(serve, size, ttl_s=0)
    for version in range(2, 8):
        server.set_version("file", version, size + version)
        assert os.stat(server.path / "file").st_size == size + version
        assert (server.path / "file").read_bytes() == versioned(version, size + version)
        assert {entry.stat().st_size for entry in os.scandir(server.path)} == {size + version}
    server.delete("file")
    assert not (server.path / "file").exists()
    assert os.listdir(server.path) == []


def test_replaced_twice_between_stat_and_open(serve, size):
    """The second lookup finds version 2, which is gone again when its bytes are asked for."""
    server = start(serve, size)
    os.stat(server.path / "file")
    server.set_version("file", 2, size)
    server.call("replace_at", method="read", key="file", skip=1, version=3, size=size + 5)
    assert (server.path / "file").read_bytes() == versioned(3, size + 5)


@pytest.mark.parametrize("listed", [True, False])
def test_replaced_at_any_of_the_requests_on_the_way_to_the_first_byte(serve, ttl_s, listed):
    """Whichever requests the object is replaced at, open finds a version that stays, and never fails with ESTALE."""
    server = serve(ttl_s=ttl_s)
    patterns = range(1, 1 << REQUESTS)
    for pattern in patterns:
        server.set_version(f"file{pattern}", 1, SMALL)
    if listed:
        os.listdir(server.path)
    failed = {}
    for pattern in patterns:
        key = f"file{pattern}"
        os.stat(server.path / key)
        server.set_version(key, 2, SMALL + 2)
        server.call("replace_pattern", key=key, pattern=pattern, requests=REQUESTS, size=SMALL)
        try:
            seen = (server.path / key).read_bytes()
        except OSError as error:
            failed[f"{pattern:b}"] = error.errno
        else:
            version = version_of(seen)
            assert version >= 2
            assert seen == versioned(version, SMALL + version)
        server.clear_faults()
    assert failed == {}


def test_a_file_becomes_a_directory(serve, size):
    server = start(serve, size)
    os.stat(server.path / "file")
    server.delete("file")
    server.set("file/inner", b"inner")
    with pytest.raises(IsADirectoryError):
        (server.path / "file").read_bytes()
    assert (server.path / "file" / "inner").read_bytes() == b"inner"
    assert os.listdir(server.path / "file") == ["inner"]


def test_a_directory_becomes_a_file(serve, size):
    server = serve({"name/inner": b"inner"}, ttl_s=0.5)
    assert os.listdir(server.path / "name") == ["inner"]
    server.delete("name/inner")
    server.set_version("name", 1, size)
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        (server.path / "name" / "inner").read_bytes()
    wait_until((server.path / "name").is_file, "the file never showed up")
    assert (server.path / "name").read_bytes() == versioned(1, size)


def test_a_working_directory_that_vanished(serve):
    server = serve({"dir/inner": b"x", "other": b"y"}, ttl_s=0)
    os.chdir(server.path / "dir")
    try:
        server.delete("dir/inner")
        assert not os.path.exists("inner")
        server.set("dir/back", b"z")
        assert os.listdir(".") == ["back"]
    finally:
        os.chdir("/")


# ---- mapped files


def test_a_mapped_file_keeps_its_version(serve):
    server = start(serve, SMALL, ttl_s=0)
    with (server.path / "file").open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:100] == versioned(1, SMALL)[:100]
        server.set_version("file", 2, SMALL - 50_000)
        with (server.path / "file").open("rb") as new:
            assert new.read() == versioned(2, SMALL - 50_000)
        assert mapped[:] == versioned(1, SMALL)


MAP = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
print(mapped[:8], flush=True)
sys.stdin.readline()
print(mapped[-8:], flush=True)
"""


def test_a_mapped_reader_of_bytes_that_are_nowhere_gets_sigbus(serve):
    size = 40 * MIB  # more than the kernel and the cache read ahead
    server = start(serve, size, memory_bytes=4 * MIB)
    command = [sys.executable, "-c", MAP, server.path / "file"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout.readline() == repr(versioned(1, 8)).encode() + b"\n"
        server.set_version("file", 2, size)
        assert reader.communicate(b"\n")[0] == b""
    assert reader.returncode == -7, "SIGBUS, not bytes of the other version"


def test_a_read_that_waits_while_its_object_is_replaced(serve):
    server = start(serve, LARGE)
    fd = os.open(server.path / "file", os.O_RDONLY)
    try:
        server.fault(method="read", block=True)
        outcome = []

        def read():
            try:
                outcome.append(os.pread(fd, 4096, 4 * MIB))
            except OSError as error:
                outcome.append(error.errno)

        reader = threading.Thread(target=read)
        reader.start()
        server.wait_blocked(1)
        server.set_version("file", 2, LARGE)
        server.clear_faults()
        reader.join(20)
        assert outcome == [errno.ESTALE]
    finally:
        os.close(fd)


OTHERS = [f"other{number}" for number in range(48)]


def start_with_others(serve):
    server = start(serve, 256 * KIB, ttl_s=60.0)
    server.set_many(OTHERS, bytes(256 * KIB))
    return server


def read_end(opened, want):
    """Read the last bytes and nothing else: the kernel is not to read ahead."""
    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    assert os.pread(opened.fileno(), 1000, len(want) - 1000) == want[-1000:]


def read_others(server):
    """Read more than is kept of what was delivered."""
    for other in OTHERS:
        (server.path / other).read_bytes()


def test_what_open_fetched_stays_until_all_of_it_was_read(serve):
    """The end of a small file is read first, as of a zip or a Parquet file; then others, until its turn has passed."""
    server = start_with_others(serve)
    want = versioned(1, 256 * KIB)
    with (server.path / "file").open("rb", buffering=0) as opened:
        read_end(opened, want)
        read_others(server)
        with server.store_calls() as made:
            assert os.pread(opened.fileno(), 4 * KIB, 64 * KIB) == want[64 * KIB : 68 * KIB]
        assert made == {}
        server.set_version("file", 2, 256 * KIB)
        assert os.pread(opened.fileno(), 256 * KIB, 0) == want


def test_another_open_of_a_file_of_which_only_the_end_was_read(serve):
    """Its first bytes were not delivered, though its last ones were: this open has to bring them too."""
    server = start_with_others(serve)
    want = versioned(1, 256 * KIB)
    with (server.path / "file").open("rb", buffering=0) as opened:
        read_end(opened, want)
    read_others(server)
    with (server.path / "file").open("rb", buffering=0) as opened:
        server.set_version("file", 2, 256 * KIB)
        assert os.pread(opened.fileno(), 256 * KIB, 0) == want
