"""What the kernel has mounted, and taking mounts away, without ever hanging on one.

Everything here blocks for a bounded time. `/proc/self/mountinfo` is the only thing read before it is known whether a
mount answers; whatever goes through a mount goes through a thread that may be left behind.
"""

import ctypes
import errno
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Literal, NamedTuple

from mountd.errors import BusyError, DeniedError, MountdError, NotFoundError, SetupError

Health = Literal["alive", "dead", "silent"]

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_OCTAL = re.compile(r"\\([0-7]{3})")
_FUSERMOUNT_TIMEOUT_S = 10.0
INSTALL_FUSE3 = "install it (`apt-get install fuse3`)"


class MountEntry(NamedTuple):
    """One line of mountinfo (proc(5))."""

    mount_id: int
    device: str
    """`major:minor` in decimal, as `/sys/class/bdi` names it."""
    mountpoint: str
    fstype: str
    source: str

    @property
    def is_fuse(self) -> bool:
        """It is served by a process."""
        return self.fstype == "fuse" or self.fstype.startswith("fuse.")


def parse_mountinfo(text: str) -> list[MountEntry]:
    """Return the entries of a mountinfo file in mount order; later ones cover earlier ones at the same place."""
    entries = []
    for line in text.split("\n"):  # not splitlines: a path may hold what ends a line elsewhere, a form feed for one
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(kind) < 2:
            continue
        entries.append(
            MountEntry(
                mount_id=int(fields[0]),
                device=fields[2],
                mountpoint=_unescape(fields[4]),
                fstype=kind[0],
                source=_unescape(kind[1]),
            )
        )
    return entries


def mount_at(path: str) -> MountEntry | None:
    """Return the mount that is on top at exactly `path`, or None."""
    at_path = [entry for entry in _mountinfo() if entry.mountpoint == path]
    return at_path[-1] if at_path else None


def is_on_top(entry: MountEntry) -> bool:
    """Say whether `entry` is (still) what is on top at its mount point.

    The kernel gives a freed mount id and device number to the next mount, so all of the entry is compared; the device
    number alone is exact as long as the file system behind it lives.
    """
    return mount_at(entry.mountpoint) == entry


def probe(path: str, timeout_s: float) -> Health:
    """Say whether what serves the FUSE mount at `path` still does.

    dead: the connection is gone, every call fails with ENOTCONN. silent: no answer within `timeout_s`.
    """
    outcome: list[Health] = []

    def ask() -> None:
        try:
            # Not stat: the kernel answers that from its cache even when the daemon has died.
            os.statvfs(path)
        except OSError as error:
            outcome.append("dead" if error.errno in {errno.ENOTCONN, errno.ECONNABORTED} else "alive")
        else:
            outcome.append("alive")

    thread = threading.Thread(target=ask, name="mountd-probe", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return outcome[0] if outcome else "silent"


def unmount(path: str, *, lazy: bool = False) -> None:
    """Take the mount at `path` away; `lazy` detaches it at once and lets open files live on.

    Raises:
        BusyError: a process uses it.
        NotFoundError: nothing is mounted there.
        DeniedError: it is not this user's mount.
        SetupError: the program that unmounts for users is missing or does not end.
    """
    if os.geteuid() == 0:
        _unmount_as_root(path, lazy=lazy)
    else:
        _unmount_as_user(path, lazy=lazy)


def heal(path: str, *, timeout_s: float = 2.0) -> bool:
    """Detach the dead FUSE mounts on top at `path`; return whether there were any."""
    healed = False
    for _ in range(64):  # mounts can be stacked, but not without end
        entry = mount_at(path)
        if entry is None or not entry.is_fuse or probe(path, timeout_s) != "dead":
            break
        if mount_at(path) != entry:
            continue  # somebody else was quicker
        try:
            unmount(path, lazy=True)
        except NotFoundError:
            break
        healed = True
    return healed


def _mountinfo() -> list[MountEntry]:
    return parse_mountinfo(os.fsdecode(Path("/proc/self/mountinfo").read_bytes()))


def _unescape(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def _unmount_as_root(path: str, *, lazy: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
    if libc.umount2(os.fsencode(path), flags) != 0:
        raise _refused(path, ctypes.get_errno())


def _unmount_as_user(path: str, *, lazy: bool) -> None:
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        raise SetupError(f"cannot unmount {path}: fusermount3 is not there; {INSTALL_FUSE3}")
    command = [program, "-u", *(["-z"] if lazy else []), "--", path]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_FUSERMOUNT_TIMEOUT_S,
            check=False,
            cwd="/",
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"cannot unmount {path}: fusermount3 did not end; try `fusermount3 -u -z {path}`") from None
    if done.returncode == 0:
        return
    said = done.stderr.strip()
    if "failed to open" not in said:  # else its table of mounts is missing, and it did not get to ours
        for number in (errno.EBUSY, errno.EINVAL, errno.EPERM, errno.ENOENT):
            if os.strerror(number) in said:
                raise _refused(path, number)
    if "not found in" in said:  # fusermount3 looked it up in the mount table
        raise _refused(path, errno.EINVAL)
    raise SetupError(f"cannot unmount {path}: {said or f'fusermount3 ended with {done.returncode}'}")


def _refused(path: str, number: int) -> MountdError:
    if number == errno.EBUSY:
        return BusyError(f"{path} is in use")
    if number in {errno.EINVAL, errno.ENOENT}:
        return NotFoundError(f"nothing is mounted at {path}")
    if number in {errno.EPERM, errno.EACCES}:
        return DeniedError(f"not allowed to unmount {path}")
    return SetupError(f"cannot unmount {path}: {os.strerror(number)}")
