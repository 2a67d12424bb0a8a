import os
import signal
import socket
import stat
import subprocess
import sys

import pytest

from mountd.errors import BusyError, SetupError
from mountd.wire import sockets
from mountd.wire.sockets import SERVICE_SOCKET, Peer


@pytest.fixture
def listening(tmp_path):
    listener = sockets.listen(tmp_path, "one.sock")
    yield tmp_path / "one.sock"
    listener.close()


def test_a_listening_socket_is_for_its_user_only(listening):
    assert stat.S_IMODE(listening.stat().st_mode) == 0o600


def test_a_client_learns_who_listens(listening):
    with sockets.connect(listening, 5) as connection:
        assert sockets.peer_of(connection) == Peer(os.getpid(), os.geteuid(), os.getegid())


def test_nothing_but_the_socket_is_left_in_the_directory(listening):
    assert [path.name for path in listening.parent.iterdir()] == ["one.sock"]


def test_a_path_of_any_length_will_do(tmp_path):
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    with sockets.listen(deep, "one.sock"), sockets.connect(deep / "one.sock", 5) as connection:
        assert sockets.peer_of(connection).pid == os.getpid()


def test_two_cannot_listen_under_one_name(listening):
    with pytest.raises(BusyError, match="already listens"):
        sockets.listen(listening.parent, listening.name)


def test_a_dead_socket_gives_way(tmp_path):
    sockets.listen(tmp_path, "one.sock").close()
    with sockets.listen(tmp_path, "one.sock"), sockets.connect(tmp_path / "one.sock", 5):
        pass


def test_a_dead_socket_is_swept_and_a_living_one_is_not(tmp_path, listening):
    sockets.listen(tmp_path, "dead.sock").close()
    with pytest.raises(ConnectionRefusedError):
        sockets.connect(tmp_path / "dead.sock", 5)
    for path in sockets.find([tmp_path]):
        sockets.sweep(path)
    assert sockets.find([tmp_path]) == [listening]


def test_sweeping_what_is_gone_is_no_error(tmp_path):
    sockets.sweep(tmp_path / "gone.sock")


def test_the_service_is_found_first_and_logs_are_not_sockets(tmp_path):
    for name in ("a.sock", SERVICE_SOCKET, "z.sock", "a.log", ".draft.new"):
        (tmp_path / name).touch()
    assert [path.name for path in sockets.find([tmp_path, tmp_path])] == [SERVICE_SOCKET, "a.sock", "z.sock"]


def test_a_directory_that_cannot_be_written_says_where():
    with pytest.raises(SetupError, match=r"/proc/one\.sock"):
        sockets.listen(sockets.Path("/proc"), "one.sock")


def test_a_supervisor_whose_backlog_is_full_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(sockets, "_BACKLOG", 0)
    with sockets.listen(tmp_path, "one.sock"), sockets.connect(tmp_path / "one.sock", 5):
        with pytest.raises(TimeoutError):
            sockets.connect(tmp_path / "one.sock", 0.05)
        sockets.sweep(tmp_path / "one.sock")
        assert (tmp_path / "one.sock").exists()


@pytest.mark.parametrize("name", ["data", "a/b c", "x" * 100, "", "ünï", "a-b-c"])
def test_a_private_name_tells_what_it_serves(name):
    socket_name = sockets.private_socket_name(name)
    assert "/" not in socket_name
    assert len(socket_name) < 80
    told = sockets.mount_name_of(sockets.Path(socket_name))
    assert told == "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in name)[:40] or " " in name
    assert sockets.private_socket_name(name) != socket_name


def test_only_the_same_user_and_root_are_trusted():
    assert sockets.trusted(Peer(1, os.geteuid(), 1))
    assert sockets.trusted(Peer(1, 0, 0))
    assert not sockets.trusted(Peer(1, os.geteuid() + 1, os.getegid()))


CONNECT = """
import os, socket, sys
os.setresuid(65534, 65534, 65534)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.recv(1)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_the_kernel_tells_who_connects(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    path = f"/tmp/mountd-test-{os.getpid()}.sock"  # where another user gets to
    listener.bind(path)
    os.chmod(path, 0o777)
    listener.listen()
    other = subprocess.Popen([sys.executable, "-c", CONNECT, path])
    try:
        listener.settimeout(20)
        connection, _ = listener.accept()
        peer = sockets.peer_of(connection)
        connection.close()
        assert peer == Peer(other.pid, 65534, 0)
        assert not sockets.trusted(peer)
        assert other.wait(10) == 0
    finally:
        if other.poll() is None:
            os.kill(other.pid, signal.SIGKILL)
            other.wait()
        listener.close()
        os.unlink(path)
