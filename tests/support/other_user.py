"""A user without privileges: FUSE through fusermount3. Needs root to become one."""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from tests.support.mounts import ROOT

NOBODY = 65534
NAMESPACE = """
mount --bind "$0/fuse" /dev/fuse
mount -o bind,ro "$1" "$0/code/checkout"
mount -o bind,ro "$2" "$0/code/packages"
echo ready
exec sleep 100
"""
MAIN = "import sys; sys.argv[0] = 'mountd'; from mountd.cli.main import main; main()"
BECOME = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def interpreter():
    """Return a Python of our version that another user may run: ours may lie in a closed home directory."""
    check = "import sys; print('%d.%d' % sys.version_info[:2])"
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        # By way of `env`: what setpriv starts itself still has root's way into closed directories.
        done = subprocess.run([*BECOME, "env", candidate, "-c", check], capture_output=True, text=True, check=False)
        if done.stdout.strip() == f"3.{sys.version_info.minor}":
            return candidate
    return pytest.skip("no Python of this version that another user may run")


class User:
    """A user who runs mountd, in a mount namespace of the user's own.

    `/dev/fuse` is open to all in it, as on any desktop or VM, and our code is where everybody may read it: this
    checkout may lie in a closed home directory.
    """

    def __init__(self, directory):
        self.directory = directory
        device, code = directory / "fuse", directory / "code"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(10, 229))
        device.chmod(0o666)
        for seen in ("checkout", "packages"):
            (code / seen).mkdir(parents=True)
        self._python = interpreter()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "TMPDIR": str(directory),
            "PYTHONPATH": f"{code / 'checkout'}:{code / 'packages'}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # One namespace for all commands: a mount made by one is seen by the next.
        self._namespace = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec", NAMESPACE,
             directory, ROOT, sysconfig.get_paths()["purelib"]],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._namespace.stdout.readline() == "ready\n"

    def command(self, *arguments, cwd=None, **environ):
        """Return a command line that runs in the user's place; the process that it starts becomes the command."""
        enter = [
            "nsenter",
            "--mount",
            f"--target={self._namespace.pid}",
            *BECOME,
            "env",
            "-C",
            str(cwd or self.directory),
            "-i",
        ]
        values = [f"{name}={value}" for name, value in (self.environ | environ).items()]
        return [*enter, *values, *map(str, arguments)]

    def run(self, *arguments, check=0, cwd=None, **environ):
        """Run mountd as the user, in the user's directory if no other is given."""
        done = subprocess.run(
            self.command(self._python, "-c", MAIN, *arguments, cwd=cwd, **environ),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == check, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def shell(self, script):
        """Run a shell script as the user and return what it prints."""
        done = subprocess.run(self.command("sh", "-c", script), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def mounts(self):
        """Return the user's mounts."""
        table = Path(f"/proc/{self._namespace.pid}/mountinfo").read_text(errors="surrogateescape")
        return [line for line in table.splitlines() if f" {self.directory}/" in line and " fuse.mountd " in line]

    def close(self):
        """End everything."""
        try:
            self.run("unmount", "--all", "--lazy")
            assert self.mounts() == []
        finally:
            self._namespace.kill()
            self._namespace.communicate()


@pytest.fixture
def user():
    directory = Path(tempfile.mkdtemp(prefix="mountd-user-", dir="/tmp"))
    os.chown(directory, NOBODY, NOBODY)
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, directory)
        somebody = User(directory)
        undo.callback(somebody.close)
        somebody.shell("mkdir source && echo hello > source/a.txt")
        yield somebody
