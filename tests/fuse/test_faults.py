"""What goes wrong below or inside a handler is one request's error, never the mount's end. SEMANTICS: "Errors"."""

import errno
import mmap
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.both_engines]

MIB = 1 << 20

# What a program does, and the method of our file system that a bug might live in.
HANDLERS = {
    "lookup": lambda root: os.stat(f"{root}/dir/unseen"),
    "getattr": os.stat,
    "open": lambda root: os.open(f"{root}/file", os.O_RDONLY),
    "read_nowait": lambda root: Path(f"{root}/file").read_bytes(),
    "opendir": lambda root: os.listdir(f"{root}/dir"),
    "entries": lambda root: os.listdir(f"{root}/dir"),
    "statfs": os.statvfs,
}


@pytest.mark.parametrize("error", ["ValueError", "MemoryError", "RecursionError", "OSError"])
@pytest.mark.parametrize("method", HANDLERS)
def test_an_exception_in_a_handler_is_eio_and_the_mount_lives(serve, method, error):
    server = serve({"file": b"content", "dir/inner": b"x"})
    server.expect_log("handler failed")
    server.call("break_filesystem", method=method, error=error)
    with pytest.raises(OSError) as caught:
        HANDLERS[method](str(server.path))
    assert caught.value.errno == errno.EIO
    server.call("repair_filesystem", method=method)
    assert server.counters()["handler_errors"] >= 1
    assert "injected" in server.stderr()
    assert (server.path / "file").read_bytes() == b"content"
    assert os.listdir(server.path / "dir") == ["inner"]


@pytest.mark.parametrize("method", ["release", "forget"])
def test_an_exception_where_no_reply_can_carry_an_error(serve, method):
    server = serve({"file": b"content", "other": b"y"}, ttl_s=0)
    server.expect_log("handler failed")
    server.call("break_filesystem", method=method)
    for index in range(5):
        (server.path / "file").read_bytes()
        server.set("file", b"changed %d" % index)  # the inode of the old version is forgotten
        os.stat(server.path / "file")
    server.wait_until(lambda counters: counters["handler_errors"] >= 3)
    assert f'"operation":"{method}"' in server.stderr()
    assert (server.path / "other").read_bytes() == b"y"


@pytest.mark.parametrize("store_method", ["list_page", "stat", "is_directory", "read"])
@pytest.mark.parametrize("error", ["ValueError", "CorruptError", "UnavailableError", "MountdError"])
def test_a_failing_store_is_eio_and_the_next_try_works(serve, store_method, error):
    server = serve({"file": b"content", "dir/inner": b"x"}, deadline_s=1.0)
    server.expect_log("handler failed")
    server.expect_log("listing failed")
    server.expect_log("request failed")
    server.fault(method=store_method, error=error)

    def use():
        if store_method == "list_page":
            return os.listdir(server.path / "dir")
        return (server.path / "file").read_bytes()

    with pytest.raises(OSError) as caught:
        use()
    assert caught.value.errno == errno.EIO
    assert "injected" in server.stderr(), "the log says why"
    server.clear_faults()
    assert use() in (b"content", ["inner"])


@pytest.mark.parametrize(
    ("error", "expected"),
    [("DeniedError", errno.EACCES), ("NoRoomError", errno.ENOSPC), ("UnavailableError", errno.EIO)],
)
def test_each_error_has_its_errno(serve, error, expected):
    server = serve({"file": b"content"}, deadline_s=1.0)
    os.listdir(server.path)
    server.expect_log("request failed")
    server.fault(method="read", error=error)
    with pytest.raises(OSError) as caught:
        (server.path / "file").read_bytes()
    assert caught.value.errno == expected


def test_a_listing_of_what_is_gone_is_no_empty_directory(serve):
    server = serve({"dir/inner": b"x"}, deadline_s=1.0)
    server.expect_log("request failed")
    server.fault(method="list_page", error="NotFoundError")
    with pytest.raises(OSError) as caught:
        os.listdir(server.path / "dir")
    assert caught.value.errno == errno.EIO
    assert "injected" in server.stderr(), "the log says why"
    server.clear_faults()
    assert os.listdir(server.path / "dir") == ["inner"]


def test_a_fault_in_the_middle_of_a_file_is_an_error_there_and_only_then(serve):
    server = serve({"file": 6 * MIB}, deadline_s=1.0, memory_bytes=MIB)
    fd = os.open(server.path / "file", os.O_RDONLY)
    try:
        assert os.pread(fd, 4096, 0) == bytes(4096)
        server.expect_log("request failed")
        server.fault(method="read", error="UnavailableError")
        with pytest.raises(OSError) as caught:
            os.pread(fd, 4096, 5 * MIB)
        assert caught.value.errno == errno.EIO
        server.clear_faults()
        assert os.pread(fd, 4096, 5 * MIB) == bytes(4096)
    finally:
        os.close(fd)


def test_a_store_that_never_answers_is_eio_at_the_deadline(serve):
    server = serve({"file": b"content"}, deadline_s=1.0)
    server.expect_log("request failed")
    server.fault(block=True)
    for use in (lambda: os.listdir(server.path), lambda: os.stat(server.path / "file")):
        with pytest.raises(OSError) as caught:
            use()
        assert caught.value.errno == errno.EIO
    server.clear_faults()
    assert (server.path / "file").read_bytes() == b"content"


@pytest.fixture
def stuck_readers():
    """Start threads that read and wait; they have ended when the test has."""
    readers = []

    def start(count, read):
        for index in range(count):
            readers.append(threading.Thread(target=read, args=[index], daemon=True))
            readers[-1].start()
        return readers

    yield start
    join(readers)


def join(readers):
    """Wait until all have ended."""
    for reader in readers:
        reader.join(60)
        assert not reader.is_alive()


def look_around(server):
    """Do what needs no data, within 10 s."""
    in_time = threading.Event()

    def ask():
        os.stat(server.path / "dir" / "inner")
        os.listdir(server.path / "dir")
        os.statvfs(server.path)
        in_time.set()

    threading.Thread(target=ask, daemon=True).start()
    assert in_time.wait(10)


def test_stuck_reads_do_not_keep_anybody_from_looking_around(serve, stuck_readers):
    """Of reads like these the kernel lets `max_background` through; the rest wait in its queue."""
    server = serve({"big": 20 * MIB, "dir/inner": b"x"})
    fd = os.open(server.path / "big", os.O_RDONLY | os.O_DIRECT)
    try:
        server.fault(method="read", block=True)
        outcomes = []
        stuck_readers(200, lambda index: outcomes.append(len(os.pread(fd, 4096, 2 * MIB + index * 65_536))))
        server.wait_until(lambda counters: counters["reads"] >= 12)
        look_around(server)
        assert outcomes == []
        server.clear_faults()
    finally:
        os.close(fd)


def test_stuck_page_faults_do_not_keep_anybody_from_looking_around(serve, stuck_readers):
    """Each of these is a request of its own that no limit of the kernel holds back."""
    server = serve({"big": 20 * MIB, "dir/inner": b"x"})
    fd = os.open(server.path / "big", os.O_RDONLY)
    with mmap.mmap(fd, 20 * MIB, prot=mmap.PROT_READ) as mapped:
        os.close(fd)
        mapped.madvise(mmap.MADV_RANDOM)
        server.fault(method="read", block=True)
        pipes = [os.pipe() for _ in range(200)]
        with memoryview(mapped) as view:
            # write(2) gives up the interpreter lock, and the kernel faults the page in when it copies from it.
            readers = stuck_readers(200, lambda index: os.write(pipes[index][1], view[2 * MIB + index * 65_536 :][:10]))
            server.wait_until(lambda counters: counters["reads"] >= 200)
            look_around(server)
            server.clear_faults()
            join(readers)
        for outlet, inlet in pipes:
            assert os.read(outlet, 100) == bytes(10)
            os.close(outlet)
            os.close(inlet)


def test_more_stuck_opens_than_there_used_to_be_tasks(serve, stuck_readers):
    server = serve({"dir/inner": b"x"})
    server.set_many([f"many/{index}" for index in range(1200)], bytes(100))
    os.listdir(server.path / "many")
    server.fault(method="read", block=True)
    sizes = []
    stuck_readers(1200, lambda index: sizes.append(len((server.path / "many" / f"{index}").read_bytes())))
    server.wait_blocked(900)
    look_around(server)
    server.wait_blocked(1200)
    assert sizes == []
    server.clear_faults()
    server.wait_until(lambda counters: counters["handles"] == 0 and counters["reads"] >= 1200)


READ = "import sys; open(sys.argv[1], 'rb', buffering=0).read()"


def test_killed_readers_do_no_harm(serve):
    server = serve({f"f{index}": 2 * MIB for index in range(8)} | {"other": b"fine"})
    os.listdir(server.path)
    server.fault(method="read", block=True)
    readers = [subprocess.Popen([sys.executable, "-c", READ, server.path / f"f{index}"]) for index in range(8)]
    server.wait_blocked(8)
    for reader in readers:
        reader.send_signal(signal.SIGKILL)
    os.stat(server.path / "other")
    server.clear_faults()
    assert [reader.wait(20) for reader in readers] == [-signal.SIGKILL] * 8
    assert (server.path / "f3").read_bytes() == bytes(2 * MIB)
    server.wait_until(lambda counters: counters["handles"] == 0)


def test_killed_while_looking_up_and_listing(serve):
    server = serve({"dir/inner": b"x", "file": b"y"})
    server.fault(block=True)
    programs = ["import os, sys; os.stat(sys.argv[1] + '/file')", "import os, sys; os.listdir(sys.argv[1] + '/dir')"]
    users = [subprocess.Popen([sys.executable, "-c", program, server.path]) for program in programs]
    server.wait_blocked(2)
    for user in users:
        user.send_signal(signal.SIGKILL)
    server.clear_faults()
    assert [user.wait(20) for user in users] == [-signal.SIGKILL] * 2
    assert os.listdir(server.path / "dir") == ["inner"]


def test_a_reader_that_is_interrupted_by_a_signal_gets_its_bytes(serve):
    server = serve({"file": b"content"})
    os.listdir(server.path)
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        server.fault(method="read", block=True)
        main_thread = threading.main_thread().ident

        def disturb():
            server.wait_blocked(1)
            for _ in range(5):
                signal.pthread_kill(main_thread, signal.SIGUSR1)
            server.clear_faults()

        helper = threading.Thread(target=disturb)
        helper.start()
        assert (server.path / "file").read_bytes() == b"content"
        helper.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen
