"""Which processes keep a mount busy: open files, working directories, mapped files.

Reads `/proc` only and never follows a path into the mount. Reading the maps or the command line of a process that is
stuck in a page fault can block: call it in a thread, with a deadline, and take what it has found by then.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mountd.fuse.mount_table import MountEntry
from mountd.observe.redaction import redact

_COMMAND_LIMIT = 80


class Holder(NamedTuple):
    """A process that uses a mount."""

    pid: int
    command: str
    what: str
    """`open file`, `working directory`, `root directory` or `mapped file`."""


def collect_holders(mount: MountEntry, found: list[Holder]) -> None:
    """Append every process that uses `mount` to `found`, as it is met; processes of other users are invisible."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            what = next(_uses(process, mount), None)
            if what is not None:
                found.append(Holder(int(process.name), _command(process), what))
        except OSError:
            continue  # it ended, or is somebody else's


def describe(holders: list[Holder]) -> str:
    """Return `pid 12 (python train.py, open file), …` for a message."""
    shown = [f"pid {holder.pid} ({holder.command}, {holder.what})" for holder in holders[:5]]
    if len(holders) > 5:
        shown.append(f"and {len(holders) - 5} more")
    return ", ".join(shown)


def _uses(process: Path, mount: MountEntry) -> Iterator[str]:
    marker = f"mnt_id:\t{mount.mount_id}\n"
    for handle in (process / "fdinfo").iterdir():
        try:
            if marker in handle.read_text():
                yield "open file"
        except OSError:
            continue  # closed meanwhile
    for name, what in (("cwd", "working directory"), ("root", "root directory")):
        target = os.readlink(process / name)
        if target == mount.mountpoint or target.startswith(mount.mountpoint + "/"):
            yield what
    major, minor = mount.device.split(":")
    device = f"{int(major):02x}:{int(minor):02x}"
    for line in (process / "maps").read_text("utf-8", "surrogateescape").splitlines():
        if line.split(" ", 4)[3:4] == [device]:
            yield "mapped file"


def _command(process: Path) -> str:
    raw = (process / "cmdline").read_bytes().replace(b"\0", b" ").strip() or (process / "comm").read_bytes().strip()
    text = redact(raw.decode("utf-8", "replace"))
    return text if len(text) <= _COMMAND_LIMIT else text[: _COMMAND_LIMIT - 1] + "…"
