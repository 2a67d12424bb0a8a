"""What a node must offer before anything can be mounted on it, and how to get it when it does not."""

import errno
import os
import shutil
from pathlib import Path

from mountd.errors import DeniedError, SetupError, UsageError
from mountd.fuse.mount_table import INSTALL_FUSE3

_CAP_SYS_ADMIN = 1 << 21
_IN_A_CONTAINER = "in a container, run it with `--device /dev/fuse --cap-add SYS_ADMIN`"


def check_node(
    *,
    allow_other: bool,
    device: Path = Path("/dev/fuse"),
    fuse_conf: Path = Path("/etc/fuse.conf"),
    mtab: Path = Path("/etc/mtab"),
    status: Path = Path("/proc/self/status"),
) -> None:
    """Return if this process can mount a FUSE file system.

    Raises:
        SetupError: FUSE is missing or out of reach; says what to do.
        DeniedError: this user may not open the device.
        UsageError: `allow_other` is not permitted to users here.
    """
    _check_device(device)
    if os.geteuid() == 0:
        # Root mounts and unmounts by itself and needs no fusermount3, but the capability that containers drop.
        if not _may_mount(status):
            raise SetupError(
                f"cannot mount: root lacks the capability SYS_ADMIN here; {_IN_A_CONTAINER}, or --privileged"
            )
        return
    if shutil.which("fusermount3") is None:
        raise SetupError(f"cannot mount: fusermount3 is not on the PATH; {INSTALL_FUSE3}")
    if not mtab.exists():  # some container images lack it, and what a user mounts there no user can unmount
        raise SetupError(
            f"cannot mount: {mtab} is missing, without which fusermount3 does not unmount; "
            f"as root, make it: `ln -s /proc/self/mounts {mtab}`"
        )
    if allow_other and not _users_may_allow_other(fuse_conf):
        raise UsageError(
            f"--allow-other is not permitted to users here: add the line user_allow_other to {fuse_conf}, "
            "or mount without it"
        )


def _check_device(device: Path) -> None:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise SetupError(
                f"cannot mount: {device} does not exist; load the kernel module (`modprobe fuse`) and "
                f"{INSTALL_FUSE3}; {_IN_A_CONTAINER}"
            ) from None
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise DeniedError(
                f"cannot mount: {device} may not be opened by user {os.geteuid()}; make it readable and writable "
                f"(`chmod 666 {device}`); {_IN_A_CONTAINER}"
            ) from None
        raise SetupError(
            f"cannot mount: {device} does not work ({error.strerror}); load the kernel module (`modprobe fuse`)"
        ) from None


def _may_mount(status: Path) -> bool:
    for line in status.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) & _CAP_SYS_ADMIN)
    return True  # a kernel that does not say: the mount itself will


def _users_may_allow_other(fuse_conf: Path) -> bool:
    try:
        lines = fuse_conf.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)
