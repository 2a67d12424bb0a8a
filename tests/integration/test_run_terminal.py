"""`mountd run` on a terminal: keyboard, Ctrl-C, Ctrl-Z and pipelines, under a real shell with job control."""

import os
import pty
import re
import select
import subprocess
import time

import pytest

from tests.support.mounts import PROGRAM

PATIENCE_S = 30


class Shell:
    """An interactive bash on a terminal of its own."""

    def __init__(self, directory):
        environment = {
            "PATH": f"{PROGRAM.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(directory),
            "PS1": "READY ",
            "TERM": "dumb",
            "HISTFILE": "",
        }
        self.terminal, other_end = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i"],
            stdin=other_end,
            stdout=other_end,
            stderr=other_end,
            cwd=directory,
            env=environment,
        )
        os.close(other_end)
        self.seen = ""
        self.expect("READY ")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def expect(self, pattern):
        """Read until `pattern` shows up; return the match and forget what came before its end."""
        until = time.monotonic() + PATIENCE_S
        while not (match := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.terminal], [], [], max(0, until - time.monotonic()))
            if not ready:
                pytest.fail(f"{pattern!r} did not show up in {self.seen!r}")
            try:
                self.seen += os.read(self.terminal, 4096).decode(errors="replace")
            except OSError:  # the terminal hung up
                pytest.fail(f"the shell ended; {pattern!r} was not in {self.seen!r}")
        self.seen = self.seen[match.end() :]
        return match

    def command(self, line):
        """Type `line`; its echo is over when this returns."""
        self.type(line + "\n")
        self.expect(re.escape(line) + r"\r?\n")

    def status(self):
        """Return the exit status of what ran last, once the prompt is back."""
        self.expect("READY ")
        self.type("echo status=$?.\n")
        return int(self.expect(r"status=(\d+)\.")[1])

    def close(self):
        os.close(self.terminal)  # hangs up: the shell ends, and its jobs with it
        self.process.wait(PATIENCE_S)


@pytest.fixture
def shell(tmp_path):
    shell = Shell(tmp_path)
    yield shell
    shell.close()


def test_a_command_reads_the_keyboard(shell):
    shell.command("mountd run -- sh -c 'echo name?; read name; echo \"<$name>\"; exit 4'")
    shell.expect(r"name\?\r\n")
    shell.type("Ada\n")
    shell.expect("<Ada>")
    assert shell.status() == 4


def test_end_of_file_ends_a_reader(shell):
    shell.command("mountd run -- cat")
    shell.expect("calling script.*\n")
    shell.type("one line\n")
    shell.expect("one line\r\none line\r\n")
    shell.type("\x04")
    assert shell.status() == 0


@pytest.mark.parametrize(("key", "status"), [("\x03", 130), ("\x1c", 131)])
def test_keys_that_end_a_command_which_does_not_read(shell, key, status):
    shell.command("mountd run -- sh -c 'echo up; exec sleep 60'")
    shell.expect(r"up\r\n")
    shell.type(key)
    assert shell.status() == status


def test_ctrl_c_ends_a_command_that_reads(shell):
    shell.command("mountd run -- sh -c 'echo up; read x; echo got $x; exec cat'")
    shell.expect(r"up\r\n")
    shell.type("a\n")
    shell.expect("got a")
    shell.type("\x03")
    assert shell.status() == 130


def test_a_command_may_handle_ctrl_c_itself(shell):
    shell.command("mountd run -- sh -c 'trap \"kill \\$!; echo caught; exit 9\" INT; sleep 60 & echo up; wait'")
    shell.expect(r"up\r\n")
    shell.type("\x03")
    shell.expect("caught")
    assert shell.status() == 9


def test_ctrl_z_stops_the_job_and_fg_goes_on(shell):
    shell.command("mountd run -- sh -c 'read x; echo got $x; read x; echo \"<$x>\"'")
    shell.expect(r"calling script.*\n")
    shell.type("a\n")
    shell.expect("got a")  # it has the terminal: no stop is lost in the moment it gets it
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.expect("READY ")
    shell.command("fg")
    shell.type("again\n")
    shell.expect("<again>")
    assert shell.status() == 0


def test_ctrl_z_stops_a_command_that_does_not_read(shell, tmp_path):
    ticks = tmp_path / "ticks"
    # Not sh: dash uses vfork, and whoever is stopped between vfork and exec leaves it in a sleep that no stop ends.
    shell.command(f"mountd run -- bash -c 'echo . > {ticks}; echo up; while :; do echo . >> {ticks}; sleep 0.01; done'")
    shell.expect(r"up\r\n")
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.expect("READY ")
    before = ticks.read_text()
    shell.type("sleep 0.3; echo slept.\n")
    shell.expect(r"\nslept\.")
    assert ticks.read_text() == before
    shell.command("fg")
    until = time.monotonic() + PATIENCE_S
    while ticks.read_text() == before:
        assert time.monotonic() < until
    shell.type("\x03")
    assert shell.status() == 130


def test_a_background_job_that_wants_the_keyboard_stops_until_fg(shell):
    shell.command("mountd run -- sh -c 'read x; echo \"<$x>\"' &")
    shell.expect(r"After variable.*\n")
    shell.type("\n")
    until = time.monotonic() + PATIENCE_S
    while True:  # bash tells of it at its next prompt
        shell.type("jobs\n")
        if "Stopped" in shell.expect(r"(Running|Stopped)[^\n]*mountd")[0]:
            break
        assert time.monotonic() < until
    shell.command("fg")
    shell.type("now\n")
    shell.expect("<now>")


def test_a_pipeline_keeps_its_keyboard(shell):
    shell.command("mountd run -- sh -c 'echo from the command' | { cat; read x < /dev/tty; echo \"<$x>\"; }")
    shell.expect("from the command\r\n")
    shell.type("typed\n")
    shell.expect("<typed>")
    assert shell.status() == 0
