"""Real mounts of a `MemoryStore`, each served by a process of its own that the test steers.

`serve` starts a mount with options of its own for one test; `shared_mount` in the test modules may keep one for a
module. Whoever ends a `FuseServer` with `close` has checked that the mount is gone, that the process ended by itself
with status 0, and that it had nothing to complain about but what was expected.
"""

import base64
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mountd.fuse import mount_table

ROOT = Path(__file__).parents[2]
ANSWER_S = 30.0
FAILED = 5
"""Exit status of a server whose session ended in an error."""
LIFETIME_S = 110.0
"""A server that hung would hang the test with it, in a system call that no signal ends: a thread kills it first."""


class Launcher:
    """A process that forks servers: importing what they need takes much longer than mounting."""

    def __init__(self):
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._orders.settimeout(ANSWER_S)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *("-X", "dev", "-W", "error"),
                    *("-m", "tests.support.fuse_server_main"),
                    str(theirs.fileno()),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def start(self, mountpoint, options, descriptors):
        """Fork a server that owns copies of `descriptors`, its control channel and its standard error."""
        return ForkedProcess(self, self._ask(descriptors, do="start", mountpoint=mountpoint, options=options))

    def status(self, pid):
        """Return how a server that has ended did so, as `subprocess` shows it; once for each."""
        return self._ask([], do="status", pid=pid)

    def close(self):
        """End the launcher."""
        self._orders.close()
        assert self._process.wait(ANSWER_S) == 0

    def _ask(self, descriptors, **order):
        with self._lock:
            socket.send_fds(self._orders, [json.dumps(order).encode()], descriptors)
            return json.loads(self._orders.recv(1 << 16))


class ForkedProcess:
    """A child of the launcher, with what `subprocess.Popen` offers."""

    def __init__(self, launcher, pid):
        self.pid = pid
        self._launcher = launcher
        self._descriptor = os.pidfd_open(pid)
        self._status = None

    def poll(self):
        """Return the exit status, or None while it runs."""
        return self._status if self._ended(0) else None

    def wait(self, timeout_s):
        """Return the exit status."""
        assert self._ended(timeout_s), f"process {self.pid} did not end within {timeout_s} s"
        return self._status

    def send_signal(self, number):
        """Send a signal, if it still runs."""
        if self._status is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def _ended(self, timeout_s):
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLIN)
        if self._status is None and waiting.poll(timeout_s * 1000):
            self._status = self._launcher.status(self.pid)
            os.close(self._descriptor)
        return self._status is not None


class FuseServer:
    """One mount and its process."""

    def __init__(self, launcher, directory, objects=None, *, mountpoint=None, **options):
        """Mount at `mountpoint`, by default `directory/mnt`.

        `objects` are keys with their bytes, or with a number of zero bytes; `options` those of `fuse_server_main`.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.path = mountpoint or directory / "mnt"
        if mountpoint is None:
            self.path.mkdir()
        self._stderr_path = directory / "stderr"
        self._expected = []
        self._failed = False
        self._buffered = b""
        self._control, theirs = socket.socketpair()
        self._control.settimeout(ANSWER_S)
        self._lock = threading.Lock()
        with theirs, self._stderr_path.open("wb") as stderr:
            self.process = launcher.start(str(self.path), options, [theirs.fileno(), stderr.fileno()])
        self._watchdog = threading.Timer(LIFETIME_S, self.process.send_signal, [signal.SIGKILL])
        self._watchdog.daemon = True
        self._watchdog.start()
        try:
            first = self._receive()
            assert first == {"event": "ready"}, f"no mount: {first}, {self.stderr()}"
            for key, data in (objects or {}).items():
                self.set(key, data)
        except BaseException:
            self._end()
            raise

    # ---- commands

    def call(self, command, **arguments):
        """Give a command and return its result."""
        with self._lock:
            self._control.sendall(json.dumps({"do": command, **arguments}).encode() + b"\n")
            answer = self._receive()
        if "error" in answer:
            raise AssertionError(f"{command}: {answer['error']}")
        return answer["result"]

    def set(self, key, data, **more):
        """Create or replace an object at once, as another client of the container would; a number: of zero bytes."""
        if isinstance(data, int):
            self.call("set_zeros", key=key, size=data)
        else:
            self.call("set", key=key, data=_text(data), **more)

    def set_many(self, keys, data=b"x"):
        """Create many objects with the same bytes."""
        self.call("set_many", keys=list(keys), data=_text(data))

    def set_version(self, key, version, size):
        """Create or replace an object with `versioned_content.versioned(version, size)`."""
        self.call("set_version", key=key, version=version, size=size)

    def delete(self, key):
        """Delete an object at once."""
        self.call("delete", key=key)

    def fault(self, **rule):
        """Make calls of the store fail, wait or block; see `fuse_server_main.Faults.add`."""
        self.call("fault", **rule)

    def clear_faults(self):
        """No more faults; what is blocked goes on."""
        self.call("clear_faults")

    def counters(self):
        """Return all counters."""
        return self.call("counters")

    def calls(self):
        """Return how often each method of the store was called."""
        return self.counters()["calls"]

    @contextlib.contextmanager
    def store_calls(self):
        """Yield a dictionary that holds the calls made meanwhile once the block is left."""
        before = self.calls()
        made = {}
        yield made
        after = self.calls()
        made.update({method: after[method] - before.get(method, 0) for method in after})
        for method in [method for method, count in made.items() if not count]:
            del made[method]

    def wait_until(self, condition, timeout_s=20.0):
        """Return the counters once `condition` of them holds."""
        patience = Patience(timeout_s)
        while not condition(counters := self.counters()):
            patience.spend(f"never came true: {counters}")
        return counters

    def wait_blocked(self, count):
        """Return when `count` calls of the store are blocked."""
        self.wait_until(lambda counters: counters["blocked"] >= count)

    # ---- the end

    def expect_log(self, text):
        """Lines of the log that hold `text` are no complaint."""
        self._expected.append(text)

    def stderr(self):
        """Return what the process wrote so far."""
        return self._stderr_path.read_text("utf-8", "replace")

    def complaints(self):
        """Return the lines of the log that nobody expected: everything above `info`, and whatever is no log line."""
        return [line for line in self.stderr().splitlines() if not self._harmless(line)]

    def mounted(self):
        """Whether the kernel has a mount at the mount point."""
        return mount_table.mount_at(str(self.path)) is not None

    def unmount(self, *, lazy=False):
        """Unmount from outside, as `umount` does; a reader that is just closing its files gets a moment."""
        patience = Patience(10.0)
        while True:
            try:
                return mount_table.unmount(str(self.path), lazy=lazy)
            except mount_table.BusyError:
                patience.spend("the mount stays busy: the test left something open")

    def terminate(self):
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s=15.0):
        """Wait until the process has ended by itself and return its status."""
        return self.process.wait(timeout_s)

    def end_reason(self):
        """Wait until the process has ended by itself, and return why it says it did."""
        assert self.wait() == 0
        return self._receive()["reason"]

    def failure(self):
        """Wait until the process has failed, and return why it says it did; its mount may stay, dead."""
        assert self.wait() == FAILED
        self._failed = True
        return self._receive()["reason"]

    def close(self):
        """Unmount, and check that the mount ended as it should."""
        try:
            if self.process.poll() is None:
                self.clear_faults()
                if self.mounted():
                    self.unmount()
            status = self.wait()
            if self._failed or status == -signal.SIGKILL:
                return  # by `kill`
            assert not self.mounted(), "the mount outlived its process"
            assert status == 0, f"status {status}: {self.stderr()}"
            complaints = self.complaints()
            assert not complaints, "\n".join(complaints)
        finally:
            self._end()

    def kill(self):
        """End the process with SIGKILL; its mount stays, dead."""
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def _end(self):
        self._watchdog.cancel()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.wait()
        self._control.close()
        with contextlib.suppress(mount_table.NotFoundError):
            mount_table.unmount(str(self.path), lazy=True)

    def _receive(self):
        while b"\n" not in self._buffered:
            data = self._control.recv(1 << 20)
            if not data:
                self.process.wait(ANSWER_S)
                raise AssertionError(f"the server has ended: {self.stderr()}")
            self._buffered += data
        line, _, self._buffered = self._buffered.partition(b"\n")
        return json.loads(line)

    def _harmless(self, line):
        if any(text in line for text in self._expected):
            return True
        try:
            return json.loads(line)["level"] in ("debug", "info")
        except (ValueError, TypeError, KeyError):
            return False


class Patience:
    """A deadline for something that nobody announces."""

    def __init__(self, timeout_s):
        self._end = threading.Event()
        self._timer = threading.Timer(timeout_s, self._end.set)
        self._timer.daemon = True
        self._timer.start()

    def spend(self, what):
        """Wait a moment; fail once the time is over."""
        if self._end.wait(0.01):
            raise AssertionError(what)


def _text(data):
    return base64.b64encode(data).decode()


@pytest.fixture(scope="session")
def fuse_launcher():
    """Start the launcher with the first test that needs a mount."""
    launcher = Launcher()
    yield launcher
    launcher.close()


def pytest_generate_tests(metafunc):
    """Run what is marked so with both engines."""
    if "engine" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_engines"):
        metafunc.parametrize("engine", ["direct", "libfuse"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def engine(request):
    """Who answers the kernel."""
    return getattr(request, "param", "direct")


@pytest.fixture
def serve(fuse_launcher, engine, tmp_path):
    """Return a function that starts a `FuseServer`; all of them are closed and checked after the test."""
    started = []

    def start(objects=None, **options):
        options = _of(engine) | options
        server = FuseServer(fuse_launcher, tmp_path / f"server{len(started)}", objects, **options)
        started.append(server)
        return server

    yield start
    close_all(started)


@pytest.fixture(scope="module")
def serve_module(fuse_launcher, engine, tmp_path_factory):
    """Return a function like `serve` whose mounts live as long as the module's tests."""
    started = []

    def start(objects=None, **options):
        options = _of(engine) | options
        server = FuseServer(fuse_launcher, tmp_path_factory.mktemp("fuse") / "server", objects, **options)
        started.append(server)
        return server

    yield start
    close_all(started)


def _of(engine):
    """Return the options of a server with this engine: only ours can do without tasks."""
    return {"engine": engine, "quick": engine == "direct"}


def close_all(servers):
    """Close every server, also after one of them failed."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.close)
