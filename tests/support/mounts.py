"""mountd as a user runs it: the real program, real mounts, and nothing left of either afterwards."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mountd.client import api
from mountd.errors import MountdError
from mountd.fuse import mount_table

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv" / "bin" / "mountd"
COMMAND_S = 60.0


class Mountd:
    """The command line with a runtime directory of its own; what it starts can be told by that."""

    def __init__(self, directory):
        self.directory = directory
        self.runtime = directory / "runtime"
        home = directory / "home"
        home.mkdir()
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "MOUNTD", "DATASET"))
        }
        self.environ = {
            **kept,
            "MOUNTD_RUNTIME_DIR": str(self.runtime),
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "MOUNTD_CACHE_DIR": str(home / "cache/mountd"),
        }

    def run(self, *arguments, check=None, **environ):
        """Run a command to its end; `check` is the exit status it must have."""
        done = subprocess.run(
            [PROGRAM, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            cwd=self.directory,
            env={**self.environ, **environ},
            check=False,
        )
        if check is not None and done.returncode != check:
            raise AssertionError(f"{arguments}: exit status {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def start(self, *arguments, **options):
        """Start a command and return its process; the caller ends it."""
        return subprocess.Popen(
            [PROGRAM, *map(str, arguments)], cwd=self.directory, env=self.environ, text=True, **options
        )

    def mount(self, source, mountpoint, *options):
        """Mount, and return the mount's record."""
        self.run("mount", source, mountpoint, *options, check=0)
        return self.record(mountpoint)

    def records(self):
        """Return what `list` shows."""
        with self.asked_directly():
            return api.list_mounts()

    @contextlib.contextmanager
    def asked_directly(self):
        """Let the client find our mounts: ten times as fast as the command, which is a program that starts."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MOUNTD_RUNTIME_DIR", str(self.runtime))
            yield

    def unmount_all(self):
        """Do what `unmount --all --lazy` does."""
        with self.asked_directly():
            for record in api.list_mounts():
                if record.state != "detached" and record.mountpoint:  # none: its supervisor is silent
                    with contextlib.suppress(MountdError):  # `wait_gone` tells
                        api.unmount(record.mountpoint, lazy=True)

    def record(self, mountpoint):
        """Return the record of the mount that is at `mountpoint` now."""
        here = [record for record in self.records() if record.mountpoint == str(mountpoint)]
        (record,) = [record for record in here if record.state != "detached"] or here
        return record

    def status(self, mountpoint):
        """Return what `status --json` says of one mount."""
        (record,) = json.loads(self.run("status", mountpoint, "--json", check=0).stdout)
        return record

    def processes(self):
        """Return the ids of all living processes that were started with our runtime directory."""
        marker = f"MOUNTD_RUNTIME_DIR={self.runtime}".encode()
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if process.name.isdigit() and marker in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found

    def mounts(self):
        """Return the mount table's entries below our directory."""
        return mounted_below(self.directory)

    def logs(self):
        """Return the text of all logs that were kept."""
        return "".join(path.read_text() for path in sorted(self.runtime.glob("logs/*.log")))

    def wait_until(self, condition, what, timeout_s=15.0):
        """Return once `condition()` holds, for what nobody announces."""
        deadline = time.monotonic() + timeout_s
        while not (outcome := condition()):
            assert time.monotonic() < deadline, f"never came true: {what}; {self.logs()}"
            signal.sigtimedwait([], 0.02)
        return outcome

    def wait_gone(self):
        """Return when nothing is mounted and nothing runs any more."""
        self.wait_until(lambda: not self.mounts() and not self.processes(), "no mounts and no processes")

    def close(self):
        """Unmount what the test has left mounted, and check that nothing remains."""
        try:
            if self.processes():
                self.unmount_all()
                self.wait_gone()
            assert not self.mounts(), "a mount was left"
            assert not self.records(), "still listed"
            assert not list(self.runtime.glob("*.sock")), "looking sweeps dead sockets"
        finally:
            for process in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            for entry in self.mounts():
                with contextlib.suppress(MountdError):
                    mount_table.unmount(entry.mountpoint, lazy=True)


def mounted_below(directory):
    """Return the mount table's entries below `directory`."""
    text = os.fsdecode(Path("/proc/self/mountinfo").read_bytes())  # other tests mount at names of any bytes
    return [entry for entry in mount_table.parse_mountinfo(text) if entry.mountpoint.startswith(f"{directory}/")]


@pytest.fixture
def mountd(tmp_path):
    """The command line; everything it has started is gone after the test."""
    program = Mountd(tmp_path)
    yield program
    program.close()


@pytest.fixture
def local_source(tmp_path):
    """A directory to mount, with a file and a directory in it."""
    directory = tmp_path / "source"
    (directory / "sub").mkdir(parents=True)
    (directory / "a.txt").write_text("hello\n")
    (directory / "sub" / "b.txt").write_text("deep\n")
    return directory


@pytest.fixture
def point(tmp_path):
    """A mount point that does not exist yet."""
    return tmp_path / "point"


@contextlib.contextmanager
def in_use(path):
    """Keep a file open whose mount ends meanwhile: closing it fails then."""
    handle = os.open(path, os.O_RDONLY)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(handle)


def caches_beside(node, origin, directory):
    """Give a node a cache in `directory`, and the credentials of a benchmark's origin."""
    node.environ |= {
        "AZURE_STORAGE_ACCOUNT": origin.account,
        "AZURE_STORAGE_KEY": origin.key,
        "MOUNTD_CACHE_DIR": str(directory / "cache"),
        "MOUNTD_CACHE_RESERVE": "1MiB",
    }
