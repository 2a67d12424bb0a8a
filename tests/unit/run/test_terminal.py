"""Lending the terminal to a command, on a real one: the signals that meet in the moment it changes hands."""

import os
import pty
import subprocess
import sys

LENDER = """
import os, signal, subprocess, sys
from mountd.run.terminal import Terminal

def stopped_by():
    return signal.Signals(os.waitid(os.P_PID, reader.pid, os.WSTOPPED).si_status).name

reader = subprocess.Popen([sys.executable, "-c", "input()"], process_group=0)
terminal = Terminal(reader.pid)
seen = [stopped_by()]
if sys.argv[1] == "key":
    os.killpg(reader.pid, signal.SIGTSTP)
if sys.argv[1] == "kill":
    os.killpg(reader.pid, signal.SIGKILL)
    os.waitid(os.P_PID, reader.pid, os.WEXITED | os.WNOWAIT)
terminal.on_stopped(signal.SIGTTIN)
if sys.argv[1] == "key":
    seen.append(stopped_by())
    os.killpg(reader.pid, signal.SIGCONT)
print("ready", *seen, flush=True)
reader.wait()
terminal.close()
print("over", reader.returncode, flush=True)
"""


def lend(key):
    """Run `LENDER` on a terminal of its own, type a line once it is ready, and return what it said."""
    terminal, other_end = pty.openpty()
    arguments = ["setsid", "--ctty", sys.executable, "-c", LENDER, key]
    process = subprocess.Popen(arguments, stdin=other_end, stdout=subprocess.PIPE, stderr=other_end, text=True)
    os.close(other_end)
    try:
        said = [process.stdout.readline().split()]
        os.write(terminal, b"a line\n")
        return [*said, process.stdout.read().split()]
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)


def test_a_command_that_wants_the_keyboard_gets_it():
    assert lend("none") == [["ready", "SIGTTIN"], ["over", "0"]]


def test_a_stop_that_was_asked_for_while_the_terminal_changes_hands_is_not_lost():
    assert lend("key") == [["ready", "SIGTTIN", "SIGTSTP"], ["over", "0"]]


def test_a_command_that_is_killed_before_it_gets_the_keyboard_stops_nobody():
    assert lend("kill") == [["ready", "SIGTTIN"], ["over", "-9"]]
