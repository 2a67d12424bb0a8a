"""The guard ends its process: it is looked at in processes of its own."""

import os
import socket
import subprocess
import sys

import pytest

from mountd.daemon.worker_guard import EXIT_STATUS
from mountd.fuse import mount_table

BLOCKED = """
import socket, sys, threading
from mountd.daemon.worker_guard import WorkerGuard
control = socket.socket(fileno=int(sys.argv[1]))
guard = WorkerGuard(control, patience_s=0.2)
if len(sys.argv) > 2:
    guard.watch_over(sys.argv[2])
print(flush=True)
threading.Event().wait(30)  # a loop that is blocked
"""


@pytest.fixture
def start():
    """Return a function that starts a guarded process whose loop is blocked; returns it and our end of its socket."""
    started = []

    def run(*arguments):
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", BLOCKED, str(theirs.fileno()), *map(str, arguments)],
                pass_fds=[theirs.fileno()],
                stdout=subprocess.PIPE,
            )
        process.stdout.readline()
        started.append((process, ours))
        return process, ours

    yield run
    for process, ours in started:
        ours.close()
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_blocked_process_ends_when_its_supervisor_is_gone(start):
    process, ours = start()
    ours.close()
    assert process.wait(10) == EXIT_STATUS


def test_orders_are_none_of_its_business(start):
    process, ours = start()
    ours.sendall(b"x" * 1000)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    ours.shutdown(socket.SHUT_WR)
    assert process.wait(10) == EXIT_STATUS


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("replaced", [False, True])
def test_it_takes_its_mount_with_it_and_no_other(start, tmp_path, replaced):
    subprocess.run(["mount", "-t", "tmpfs", "first", tmp_path], check=True)
    try:
        process, ours = start(tmp_path)
        if replaced:
            subprocess.run(["umount", tmp_path], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "second", tmp_path], check=True)
        ours.close()
        process.wait(10)
        left = mount_table.mount_at(str(tmp_path))
        assert left is None if not replaced else left.source == "second"
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=False, capture_output=True)
