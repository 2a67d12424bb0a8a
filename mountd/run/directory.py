"""A run's own directory: where inputs live that were given no path. What the run put there for them is gone afterwards.

Blocking. Never removes anything through a mount: mount points are only ever removed by `rmdir`, which fails on a
mounted one and on one that is not empty.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


class RunDirectory:
    """A directory for one run, mode 0700."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mount_points: list[Path] = []
        self._downloads: list[Path] = []

    @classmethod
    def create(cls, runs_directory: Path | None, identifier: str) -> "RunDirectory":
        """Make the directory: in `runs_directory`, or in the temp dir if that is None or not ours to write.

        It may be there, with the run's record in it, and stays then.

        Raises:
            OSError: neither place allows it.
        """
        if runs_directory is not None:
            with contextlib.suppress(OSError):  # a workspace of the node's administrator, for one
                runs_directory.mkdir(mode=0o700, exist_ok=True)
                path = runs_directory / identifier
                path.mkdir(mode=0o700, exist_ok=True)
                return cls(Path(os.path.realpath(path)))
        return cls(Path(os.path.realpath(tempfile.mkdtemp(prefix=f"mountd-{identifier}-"))))

    def mount_point(self, name: str) -> Path:
        """Make and return the directory on which to mount the input `name`."""
        return self._make(name, self._mount_points)

    def download_target(self, name: str) -> Path:
        """Make and return the directory into which to download the input `name`."""
        return self._make(name, self._downloads)

    def take_mount_point(self, path: Path) -> None:
        """Make the directory `path` if it is missing, to be removed afterwards if it was made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            self._mount_points.append(path)

    def take_download_target(self, path: Path) -> None:
        """Note that what is about to be downloaded to `path` is to be removed, if nothing is there yet."""
        if not os.path.lexists(path):
            self._downloads.append(path)

    def remove(self) -> None:
        """Remove what was made for inputs, and the directory if nothing else is in it.

        A mount that would not go stays where it is.
        """
        for target in self._downloads:
            shutil.rmtree(target, ignore_errors=True)
            with contextlib.suppress(OSError):
                target.unlink()  # a single file
        for directory in (*self._mount_points, self._path / "inputs", self._path):
            with contextlib.suppress(OSError):
                directory.rmdir()

    def _make(self, name: str, kind: list[Path]) -> Path:
        path = self._path / "inputs" / name
        path.mkdir(parents=True, mode=0o700)
        kind.append(path)
        return path


def put_in_place_of_directory(file: Path) -> None:
    """Move `file` to where its directory is, which holds nothing else and goes.

    Raises:
        OSError: it holds something else, or the file system refused.
    """
    directory = Path(tempfile.mkdtemp(prefix=f".{file.parent.name[:100]}.", dir=file.parent.parent))
    place = file.parent
    place.rename(directory)
    (directory / file.name).rename(place)
    directory.rmdir()
