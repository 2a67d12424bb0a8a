"""What becomes of a run's command when the run's process is killed: it is asked to end, then made to."""

import os
import signal
import subprocess
import sys

import pytest

from mountd.run.guard import RunGuard
from tests.support.processes import wait_until_over

KILLED = """
import os, subprocess, sys
from mountd.run.guard import RunGuard
guard = RunGuard(grace_s=float(sys.argv[1])).__enter__()
if len(sys.argv) > 2:
    command = subprocess.Popen(["sh", "-c", sys.argv[2]], process_group=0, stdout=subprocess.PIPE)
    command.stdout.readline()
    guard.watch(command.pid)
    print(guard.pid, command.pid, flush=True)
else:
    print(guard.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def killed(*arguments):
    """Return the processes left by a killed run: the guard and the command, if there is one."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    return [int(pid) for pid in done.stdout.split()]


@pytest.mark.parametrize(
    ("grace", "command"),
    [
        ("30", "echo up; exec sleep 1000"),
        ("30", "trap 'exit 1' TERM; echo up; while :; do sleep 0.02; done"),
        ("30", "echo up; kill -STOP $$"),
        ("0.3", "trap '' TERM; echo up; while :; do sleep 0.02; done"),
    ],
    ids=["plain", "with a handler", "stopped", "stubborn"],
)
async def test_the_command_of_a_killed_run_ends(grace, command):
    guard, group = killed(grace, command)
    await wait_until_over(guard)
    await wait_until_over(group)


async def test_without_a_command_there_is_nothing_to_wait_for():
    (guard,) = killed("30")
    await wait_until_over(guard)


def test_a_run_that_ends_by_itself_leaves_its_command_to_itself():
    with subprocess.Popen(["sleep", "1000"], process_group=0) as command:
        with RunGuard() as guard:
            guard.watch(command.pid)
        assert command.poll() is None
        command.kill()


def test_a_guard_that_was_killed_is_no_trouble():
    with RunGuard() as guard:
        os.kill(guard.pid, signal.SIGKILL)
        os.waitid(os.P_PID, guard.pid, os.WEXITED | os.WNOWAIT)
        guard.watch(1)
