"""The file systems that are compared, each mounted fresh for one measurement and gone after it.

`mountd` is the real command line in a runtime directory of its own; `rclone` is Debian's with `--vfs-cache-mode full`;
`fuse` is the ceiling that answers from memory. Invariant: a context that was left has no mount and no process behind
it, however it was left.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import msgspec

from benchmarks.disturbance import cpu_seconds
from benchmarks.jobs import PROJECT
from benchmarks.memory_fs import READ_AHEAD_KIB, MemorySetup
from benchmarks.origin.process import Dataset
from benchmarks.origin.tape import LARGE_PAGES

MOUNTD = PROJECT / ".venv/bin/mountd"
_DEADLINE_S = 40.0
_STEERING = ("MOUNTD_", "DATASET_", "AZURE_", "AZUREML_", "RCLONE_")


class MountError(RuntimeError):
    """A file system could not be mounted; the message says why in one line."""


class Mounted:
    """A mount that answers."""

    def __init__(self, path: Path, pid: int, status: Callable[[], dict[str, Any]] = dict) -> None:
        self.path = path
        self.pid = pid
        """The process that answers."""
        self._status = status

    def cpu_seconds(self) -> float:
        """Return the processor time that the process has used."""
        return cpu_seconds(self.pid)

    def peak_bytes(self) -> int:
        """Return the most memory that the process ever had resident."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(match[1]) * 1024 if match else 0

    def statistics(self) -> dict[str, Any]:
        """Return what the mount says about itself; empty if it says nothing."""
        return self._status()


class Contender(ABC):
    """A way to mount a container of the origin."""

    name: str

    @abstractmethod
    def mounted(self, container: str) -> AbstractContextManager[Mounted]:
        """Mount `container` freshly."""


class Mountd(Contender):
    """mountd as a user starts it."""

    def __init__(
        self, url: str, scratch: Path, *, options: Mapping[str, str] | None = None, name: str = "mountd"
    ) -> None:
        self.name = name
        self._url = url
        self._scratch = scratch
        self._options = [word for key, value in (options or {}).items() for word in (f"--{key}", value)]

    @contextmanager
    def mounted(self, container: str) -> Iterator[Mounted]:
        with _directories(self._scratch) as (mountpoint, private):
            environment = {name: value for name, value in os.environ.items() if not name.startswith(_STEERING)}
            environment["MOUNTD_RUNTIME_DIR"] = str(private)
            command = [str(MOUNTD), "mount", f"{self._url}/{container}", str(mountpoint)]
            command += ["--cache-dir", str(private / "cache"), *self._options]

            def status() -> dict[str, Any]:
                answer = _call([str(MOUNTD), "status", str(mountpoint), "--json"], environment)
                (record,) = msgspec.json.decode(answer, type=list[dict[str, Any]])
                return record

            try:
                _call(command, environment)
                mount = Mounted(mountpoint, status()["worker_pid"], lambda: status()["statistics"])
                self._prepare(mount, environment)
                yield mount
            finally:
                with contextlib.suppress(MountError):  # nothing is mounted if the mount itself failed
                    _call([str(MOUNTD), "unmount", "--all"], environment)

    def _prepare(self, mount: Mounted, environment: Mapping[str, str]) -> None:
        """Do what comes before a measurement."""


class MountdPassthrough(Mountd):
    """mountd with `-o passthrough=on`, once the kernel opens all files so; they are to be larger than 1 MiB."""

    def __init__(self, url: str, scratch: Path) -> None:
        super().__init__(url, scratch, name="mountd passthrough")
        self._options += ["-o", "passthrough=on"]

    def _prepare(self, mount: Mounted, environment: Mapping[str, str]) -> None:
        _call([str(MOUNTD), "prefetch", str(mount.path)], environment)
        for path in mount.path.iterdir():
            _wait_for_passthrough(mount, path)


class Rclone(Contender):
    """`rclone mount --vfs-cache-mode full` with a new cache directory."""

    name = "rclone"

    def __init__(self, url: str, scratch: Path) -> None:
        self._url = url
        self._scratch = scratch

    @contextmanager
    def mounted(self, container: str) -> Iterator[Mounted]:
        with _directories(self._scratch) as (mountpoint, private):
            config = private / "rclone.conf"
            config.write_text(f"[origin]\ntype = azureblob\nuse_emulator = true\nendpoint = {self._url}\n")
            command = ["rclone", "mount", f"origin:{container}", str(mountpoint), "--config", str(config)]
            command += ["--vfs-cache-mode", "full", "--cache-dir", str(private / "cache"), "--read-only"]
            with _program(command, private / "log") as process:
                _wait_for_mount(self.name, mountpoint, process, private / "log")
                yield Mounted(mountpoint, process.pid)


class Memory(Contender):
    """The fuse ceiling: shows `dataset`, whatever the container."""

    name = "fuse"

    def __init__(self, dataset: Dataset, scratch: Path, *, tape_pages: int = LARGE_PAGES) -> None:
        self._dataset = dataset
        self._scratch = scratch
        self._tape_pages = tape_pages

    @contextmanager
    def mounted(self, container: str) -> Iterator[Mounted]:  # noqa: ARG002 - it has no containers
        with _directories(self._scratch) as (mountpoint, private):
            setup = MemorySetup(mountpoint=str(mountpoint), dataset=self._dataset, tape_pages=self._tape_pages)
            command = [sys.executable, "-m", "benchmarks.memory_fs"]
            with _program(command, private / "log", first_line=msgspec.json.encode(setup)) as process:
                _wait_for_mount(self.name, mountpoint, process, private / "log")
                _raise_read_ahead(mountpoint)
                yield Mounted(mountpoint, process.pid)


class Directory(Contender):
    """Files on the local file system, read once so that they are in the page cache."""

    name = "ext4"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def mounted(self, container: str) -> Iterator[Mounted]:
        yield Mounted(self._directory / container, os.getpid())


@contextmanager
def _directories(scratch: Path) -> Iterator[tuple[Path, Path]]:
    """Give an empty mount point and a private directory, and end what is still mounted there."""
    with tempfile.TemporaryDirectory(dir=scratch) as private:
        mountpoint = Path(tempfile.mkdtemp(dir=scratch))
        try:
            yield mountpoint, Path(private)
        finally:
            if mountpoint.is_mount():
                subprocess.run(["fusermount3", "-u", "-z", str(mountpoint)], check=False, timeout=_DEADLINE_S)
            mountpoint.rmdir()


def _call(command: Sequence[str], environment: Mapping[str, str]) -> str:
    # A session of its own: Ctrl-C is for the benchmark, which lets the call end, so that there is something to unmount.
    process = subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, errors = process.communicate(timeout=_DEADLINE_S)
    except KeyboardInterrupt:
        process.communicate(timeout=_DEADLINE_S)
        raise
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.communicate()
        raise MountError(f"{' '.join(command[:2])} took longer than {_DEADLINE_S:.0f} s") from error
    if process.returncode:
        raise MountError((errors.strip().splitlines() or [f"exit status {process.returncode}"])[-1])
    return output


@contextmanager
def _program(command: Sequence[str], log: Path, *, first_line: bytes = b"") -> Iterator[subprocess.Popen[bytes]]:
    """Run a file system in the foreground; ended by SIGTERM."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        ) as process,
    ):
        assert process.stdin is not None
        try:
            if first_line:
                process.stdin.write(first_line + b"\n")
                process.stdin.flush()
            yield process
        finally:
            process.stdin.close()  # ends the memory file system
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1 if first_line else 0)
            process.send_signal(signal.SIGTERM)  # ends rclone
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_mount(program: str, mountpoint: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline, pause = monotonic() + _DEADLINE_S, Event()
    while not mountpoint.is_mount():
        if process.poll() is not None or monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
            raise MountError(f"{program} did not mount: {lines[-1]}")
        pause.wait(0.02)


def _wait_for_passthrough(mount: Mounted, path: Path) -> None:
    """Open a file until it was looked at and is opened by passthrough."""
    deadline, pause = monotonic() + _DEADLINE_S, Event()
    while True:
        with path.open("rb"):
            if mount.statistics()["passthrough_handles"]:
                return
        if monotonic() > deadline:
            raise MountError("no open by passthrough; it takes root and Linux 6.9")
        pause.wait(0.1)


def _raise_read_ahead(mountpoint: Path) -> None:
    device = mountpoint.stat().st_dev
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    with contextlib.suppress(PermissionError):  # without root the kernel's 128 KiB stay, for mountd as well
        setting.write_text(str(READ_AHEAD_KIB))
