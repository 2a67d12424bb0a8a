"""What a run does to data, as a protocol, and its real form: mounts through the client, transfers in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mountd.catalog.model import Location
from mountd.run.kind import DataKind


class DataOperations(Protocol):
    """What a run does to data. `mount` and `unmount` end by deadlines of their own."""

    async def evaluate(self, location: Location) -> Location:
        """Return the files that the MLTable in the directory `location` names.

        Raises:
            MountdError: there is none, or it is malformed.
        """

    async def mount(self, name: str, location: Location, mountpoint: Path) -> None:
        """Mount; return when it can be read.

        Args:
            name: unique among the mounts of this node.
            location: what to mount.
            mountpoint: an empty directory.

        Raises:
            MountdError: it did not work, and nothing is mounted.
        """

    async def find_single_file(self, location: Location, mountpoint: Path) -> Path | None:
        """Return the path of the file if the source of a mount is a single file.

        Raises:
            MountdError: that cannot be told.
        """

    async def troubles(self, mountpoint: Path) -> list[str]:
        """Return what users of a mount got errors for, a line each, the latest first; nothing if nobody can tell."""

    async def unmount(self, mountpoint: Path, *, lazy: bool) -> None:
        """Unmount.

        Raises:
            BusyError: somebody uses it, and `lazy` is false.
            NotFoundError: nothing is mounted there.
        """

    async def download(self, location: Location, target: Path, kind: DataKind | None = None) -> Path | None:
        """Download below `target`; return the path of the file if the source is a single file.

        Args:
            location: what to download.
            target: a directory, made if missing.
            kind: what the source must be; seen to before anything is fetched.

        Raises:
            UsageError: the source is not of that kind.
            MountdError: not all of it is there.
        """

    async def upload(
        self, source: Path, location: Location, *, overwrite: bool = True, globs: Sequence[str] = ()
    ) -> int:
        """Upload a file or directory; return how many files that were.

        Args:
            source: what to upload.
            location: where to.
            overwrite: replace objects of the same names; without it one that exists is an error, once all others have
                arrived.
            globs: which files of a directory, all if empty; written as in a `.gitignore`.

        Raises:
            MountdError: not all of it arrived.
        """
