"""Files in the making in a local store: hidden while they grow, then published at once.

The bytes go to a file with `UPLOAD_PREFIX` in the directory of the target, so that publishing is one rename (or one
link, which fails if the name is taken). Before that the bytes, and after it the directories, are forced to disk. Each
write opens the file for itself: one that still runs when its upload is discarded writes into a nameless file, never
into a descriptor that was given to somebody else. Everything here blocks and raises `OSError`.
"""

import errno
import os
import secrets
import stat
import threading

from mountd.stores import local_version
from mountd.stores.local_names import UPLOAD_PREFIX


class HiddenFile:
    """A file that will be published as `target`. The first write makes it, and missing directories above it."""

    def __init__(self, target: bytes) -> None:
        self._target = target
        self._directory = os.path.dirname(target)
        self._unsynced = [self._directory]
        self._path = self._directory + b"/" + UPLOAD_PREFIX + secrets.token_hex(8).encode()
        self._lock = threading.Lock()  # between making the file and discarding it
        self._made = False
        self._discarded = False

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write all of `data` from `offset` on."""
        self._make()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            done = 0
            while done < data.nbytes:
                done += os.pwrite(descriptor, data[done:], offset + done)
        finally:
            os.close(descriptor)

    def publish(self, *, overwrite: bool) -> tuple[os.stat_result, bool]:
        """Give the file its name; return its status and whether that is settled.

        Raises:
            FileExistsError: the name is a file's, and `overwrite` is false.
            IsADirectoryError: it is a directory's.
        """
        self._make()
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
            if overwrite:
                os.replace(self._path, self._target)
            else:
                self._link()
                os.unlink(self._path)
            for directory in self._unsynced:
                _sync(directory)
            return local_version.settle(lambda: os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def discard(self) -> None:
        """Delete the file if it was not published; a late write will not make it again."""
        with self._lock:
            self._discarded = True
            try:
                os.unlink(self._path)
            except (FileNotFoundError, NotADirectoryError):
                return

    def _link(self) -> None:
        try:
            os.link(self._path, self._target)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(self._target).st_mode):  # no file that could be left alone
                raise IsADirectoryError(errno.EISDIR, "a directory has this name", self._target) from None
            raise

    def _make(self) -> None:
        with self._lock:
            if self._discarded:
                raise FileNotFoundError(errno.ENOENT, "the upload was given up", self._path)
            if not self._made:
                self._unsynced += _make_directories(self._directory)
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
                self._made = True


def publish_bytes(target: bytes, data: memoryview, *, overwrite: bool) -> tuple[os.stat_result, bool]:
    """Write `data` as the whole file `target`; returns as `HiddenFile.publish`."""
    hidden = HiddenFile(target)
    try:
        hidden.write_at(0, data)
        return hidden.publish(overwrite=overwrite)
    finally:
        hidden.discard()


def _make_directories(path: bytes) -> list[bytes]:
    """Make `path` and its missing parents; return the directories that got a new name in them."""
    changed: list[bytes] = []
    missing: list[bytes] = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        try:
            os.mkdir(directory)
        except FileExistsError:
            if not os.path.isdir(directory):
                raise NotADirectoryError(errno.ENOTDIR, "a part of the path is a file", directory) from None
        changed.append(os.path.dirname(directory))
    return changed


def _sync(path: bytes) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
