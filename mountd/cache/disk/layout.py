"""Where things lie in the cache directory.

    journal              what is here, see `journal`
    objects/xx/DIGEST    one file per object version; a complete one holds exactly the object's bytes
    owners/NAME          one locked file per process that uses the cache, see `owner`
    lock                 held while the journal is changed

A file's name stands for one version of one object: whoever writes to it, writes the same bytes. The directory is 0700:
cached bytes are as private as what fetched them. A directory that holds anything else is never made a cache: what is
none of ours is removed from `objects`, and the mode of the directory is changed. It may be given as a link that this
user or root has made: what was said is true of the directory behind it.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mountd.cache.version import ObjectVersion
from mountd.errors import DeniedError, SetupError, UsageError

FAN_OUT = 64
"""Directories that files are spread over; made when needed."""
DIGEST_BYTES = 16
MAGIC = b"mountd cache journal\n"
"""What a journal begins with."""
_NAMES = frozenset({"journal", "journal.new", "objects", "owners", "lock", "lost+found"})
"""What a cache may hold; the last is of a file system that was made for it."""


def digest_of(store: str, key: str, version: ObjectVersion) -> int:
    """Return the number of 128 bits that stands for one version of the object `key` of one store."""
    text = "\0".join((store, key, version.etag, str(version.size)))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
    return int.from_bytes(digest, "big")


class Layout:
    """The paths of one cache directory."""

    def __init__(self, directory: str | Path) -> None:
        self._given = Path(directory)
        self._settle_in(self._given)

    def _settle_in(self, directory: Path) -> None:
        self.directory = directory
        self.journal = self.directory / "journal"
        self.objects = self.directory / "objects"
        self.owners = self.directory / "owners"
        self.lock = self.directory / "lock"
        self._objects = str(self.objects)

    def make(self) -> None:
        """Make the directories that are missing, for nobody else's eyes; where a link leads, if the directory is one.

        Raises:
            UsageError: it is no directory.
            DeniedError: the directory is somebody else's, or holds something else.
            SetupError: it cannot be made.
        """
        try:
            self._settle_in(self._real())
            with suppress(FileExistsError):
                self.directory.mkdir(mode=0o700, parents=True)
            found = self.directory.lstat()
            if not stat.S_ISDIR(found.st_mode):
                raise UsageError(f"{self._name}: is not a directory; give another --cache-dir")
            if found.st_uid != os.geteuid():
                raise DeniedError(f"{self._name}: is not a directory of this user; give another --cache-dir")
            self._refuse_foreign()
            if stat.S_IMODE(found.st_mode) != 0o700:
                self.directory.chmod(0o700)
            self.objects.mkdir(mode=0o700, exist_ok=True)
            self.owners.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SetupError(f"{self._name}: {error.strerror}; give another --cache-dir or --mode stream") from error

    @property
    def _name(self) -> str:
        behind = "" if self.directory == self._given else f", a link to {self.directory}"
        return f"cache directory {self._given}{behind}"

    def _real(self) -> Path:
        """Return the directory behind a link: a mount goes on where it began when the link is changed meanwhile."""
        try:
            link = self._given.lstat()
        except FileNotFoundError:
            return self._given
        if not stat.S_ISLNK(link.st_mode):
            return self._given
        if link.st_uid not in (0, os.geteuid()):
            raise DeniedError(f"{self._name}: is a link of another user; give another --cache-dir")
        try:
            return self._given.resolve(strict=True)
        except (OSError, RuntimeError):  # the latter is a loop of links, until Python 3.13
            where = self._given.readlink()
            raise SetupError(
                f"{self._name}: is a link to {where}, where no directory is; make it, or give another --cache-dir"
            ) from None

    def _refuse_foreign(self) -> None:
        """A journal of ours makes it a cache; without one it may hold only what a cache holds."""
        with suppress(OSError):
            descriptor = os.open(self.journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as journal:
                if journal.read(len(MAGIC)) == MAGIC:
                    return
        names = set(os.listdir(self.directory))
        foreign = names - _NAMES
        if "journal" in names and "lock" not in names:
            foreign.add("journal")
        if foreign:
            raise DeniedError(
                f"{self._name}: holds other files ({min(foreign)!r}) and is no cache; "
                "give another --cache-dir, empty or new"
            )

    def fan(self, number: int) -> str:
        """Return the `number`-th directory of files."""
        return f"{self._objects}/{number:02x}"

    def file(self, digest: int) -> str:
        """Return the file of an object version."""
        return f"{self._objects}/{digest % FAN_OUT:02x}/{digest:032x}"

    def taken(self, digest: int) -> int:
        """Return the bytes of disk that the file of an object version takes now."""
        try:
            return os.lstat(self.file(digest)).st_blocks * 512
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def files(self) -> Iterator[tuple[str, int | None, int]]:
        """Yield path, digest and bytes of disk of everything where files of objects are; None: it is none of ours."""
        for number in range(FAN_OUT):
            try:
                with os.scandir(self.fan(number)) as found:
                    for one in found:
                        yield one.path, digest_named(one.name), one.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                yield self.fan(number), None, os.lstat(self.fan(number)).st_blocks * 512


def remove(path: str) -> None:
    """Take away whatever is at `path`, which is a place of ours; it may be gone already."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except IsADirectoryError:  # no file of ours, and in the way of one
        shutil.rmtree(path)


def digest_named(name: str) -> int | None:
    """Return the digest that a file in a fan-out directory is named after; None: it is none of ours."""
    if len(name) != 2 * DIGEST_BYTES:
        return None
    try:
        return int(name, 16)
    except ValueError:
        return None
