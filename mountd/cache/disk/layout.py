"""Where things lie in the cache directory.

    index.sqlite[-wal|-shm]      what is here, see `schema`
    objects/xx/ID-DIGEST         one file per object version; a complete one holds exactly the object's bytes
    owners/NAME                  one locked file per process that uses the cache, see `owner`
    lock                         held while the index is made or replaced

A file's name has its row's number in it, which is never used again: whoever still writes to a file whose row was
evicted writes to nobody else's. The directory is 0700: cached bytes are as private as what fetched them.
"""

import hashlib
import os
import stat
from pathlib import Path

from mountd.cache.version import ObjectVersion
from mountd.errors import DeniedError, SetupError

FAN_OUT = 64
"""Directories that files are spread over; made when needed."""


def digest_of(store: str, key: str, version: ObjectVersion) -> bytes:
    """Return 16 bytes that stand for one version of the object `key` of one store."""
    text = "\0".join((store, key, version.etag, str(version.size)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Layout:
    """The paths of one cache directory."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.index = self.directory / "index.sqlite"
        self.objects = self.directory / "objects"
        self.owners = self.directory / "owners"
        self.lock = self.directory / "lock"

    def make(self) -> None:
        """Make the directories that are missing, for nobody else's eyes.

        Raises:
            DeniedError: the directory is somebody else's.
            SetupError: it cannot be made.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.directory.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise DeniedError(
                    f"cache directory {self.directory}: is not a directory of this user; give another --cache-dir"
                )
            if stat.S_IMODE(found.st_mode) != 0o700:
                self.directory.chmod(0o700)
            self.objects.mkdir(mode=0o700, exist_ok=True)
            self.owners.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SetupError(
                f"cache directory {self.directory}: {error.strerror}; give another --cache-dir or --mode stream"
            ) from error

    def fan(self, number: int) -> Path:
        """Return the `number`-th directory of files."""
        return self.objects / f"{number:02x}"

    def file(self, row: int, digest: bytes) -> Path:
        """Return the file of a row."""
        return self.fan(digest[0] % FAN_OUT) / f"{row:x}-{digest.hex()}"


def row_of(name: str) -> int | None:
    """Return the row that a file in a fan-out directory belongs to; None: it is none of ours."""
    number, separator, digest = name.partition("-")
    if not separator or len(digest) != 32:
        return None
    try:
        return int(number, 16)
    except ValueError:
        return None
