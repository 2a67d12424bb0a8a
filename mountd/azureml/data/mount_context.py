"""A mount for as long as a script or notebook wants it, and never longer than its process lives.

The mount is served by a process of its own. It ends with `stop`, at the interpreter's exit, and when the interpreter is
killed: who serves it watches the process that asked for it.
"""

import atexit
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Self

from mountd.azureml.absent import PartlyAbsent
from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.catalog.model import Location
from mountd.client import api
from mountd.config.config_file import read_config
from mountd.config.options import settle
from mountd.errors import BusyError, MountdError, NotFoundError
from mountd.fuse import mount_table
from mountd.modes.mount_spec import MountSpec

_started: "weakref.WeakSet[MountContext]" = weakref.WeakSet()


def check_mount_point(path: str) -> None:
    """See that `path` can become a mount point.

    Raises:
        UserErrorException: it cannot.
    """
    if not os.path.exists("/dev/fuse"):
        raise UserErrorException(
            "Mount is only supported on Unix or Unix-like operating systems with the native package libfuse installed. "
            "/dev/fuse is missing here: `modprobe fuse`, or start the container with --device /dev/fuse."
        )
    with as_api_errors():
        real = api.real_mountpoint(path)
        mended = api.being_mended(real) is not None
    if mended:
        raise UserErrorException(
            f'"{path}" is already mounted, and being mended. Run `mountd unmount "{path}"` to unmount it.'
        )
    if mount_table.mount_at(real) is not None and not mount_table.heal(real):
        raise UserErrorException(f'"{path}" is already mounted. Run `sudo umount "{path}"` to unmount it.')
    if os.path.exists(path) and not os.path.isdir(path):
        raise UserErrorException(f"{path} is no directory; a dataset is mounted on an empty one.")
    if os.path.isdir(path) and os.listdir(path):
        raise UserErrorException(
            "Dataset mount point must be empty, mounting dataset to non-empty folder is not supported. "
            f"{path} is not empty."
        )


class MountContext(PartlyAbsent):
    """Mounts between `start` and `stop`, or inside `with`; can be used again."""

    def __init__(self, location: Location, mount_point: str, *, remove: bool) -> None:
        """Prepare to mount `location`; `remove`: the directory was made for this and goes with it."""
        self._location = location
        self._mount_point = mount_point
        self._remove = remove
        self._owner_pid: int | None = None

    @property
    def mount_point(self) -> str:
        """Where the files are; absolute."""
        return self._mount_point

    @as_api_errors()
    def start(self) -> None:
        """Mount and return when the files can be read; does nothing while it is mounted.

        Raises:
            UserErrorException: the mount point is in use, or cannot be made.
            AzureMLException: the files cannot be reached, or the mount did not come about.
        """
        if self._owner_pid == os.getpid():
            return
        check_mount_point(self._mount_point)
        try:
            os.makedirs(self._mount_point, exist_ok=True)
        except OSError as error:
            raise UserErrorException(f"The mount point {self._mount_point} cannot be made: {error.strerror}.") from None
        options = settle({}, [], os.environ, read_config(os.environ), datastore_ttl_s=self._location.attr_ttl_s)
        point = api.real_mountpoint(self._mount_point)
        spec = MountSpec(
            name=api.free_name(None, point), mountpoint=point, location=self._location, options=options, eager=True
        )
        api.mount(spec, owner_pid=os.getpid())
        self._owner_pid = os.getpid()
        _started.add(self)

    @as_api_errors()
    def stop(self) -> None:
        """Unmount; what is still open is read to its end. Does nothing if it is not mounted.

        Raises:
            AzureMLException: it cannot be unmounted.
        """
        if self._owner_pid != os.getpid():
            return  # not started, or this is a fork of the process that did
        try:
            api.unmount(self._mount_point)
        except BusyError:
            api.unmount(self._mount_point, lazy=True)
        except NotFoundError:
            pass  # somebody unmounted it
        self._owner_pid = None
        _started.discard(self)
        if self._remove:
            with suppress(OSError):
                Path(self._mount_point).rmdir()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@atexit.register
def _stop_all() -> None:
    for context in list(_started):
        with suppress(MountdError):
            context.stop()
