"""One whole copy of a web file, taken from one answer.

For servers that cannot send parts, or cannot say which version a part belongs to.
A copy fills as it is read: who needs bytes that have not come yet pulls them from the answer, one thread at a time, so
that a slow reader slows the server down and nothing runs on behind anybody's back. The first `IN_MEMORY_BYTES` are in
memory; a longer file is in one without a name below the temp directory, which vanishes with the process. A descriptor
is closed only by whoever pulls, or while nobody does: its number may belong to another file a moment later.

Blocking calls, for threads only.
"""

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from typing import Protocol

from mountd.aio.progress import current
from mountd.aio.turn import Turn
from mountd.errors import CorruptError, MountdError, NoRoomError, UnavailableError
from mountd.units import GIB, KIB, MIB

IN_MEMORY_BYTES = 1 * MIB
KEEP_FREE_BYTES = 1 * GIB
"""Copies leave so much of the temp directory's file system to others."""
_PIECE = 256 * KIB
_LOOK_AT_DISK_EVERY = 16 * MIB


class Body(Protocol):
    """What a copy is made from."""

    def read_some(self, most: int) -> bytes:
        """Return the next bytes, 1 to about `most`, or nothing at the end."""

    def close(self) -> None:
        """Read no more."""


class Copy:
    """One file as one answer holds it.

    Args:
        what: names the file in errors, without secrets.
        body: of the answer, decoded; closed when it was read or the copy is dropped.
        size: in bytes, if it is known before the end.
        most: bytes that the file may have.
        call_s: how long one call may pull without progress (`aio.progress`).
        charge: told about bytes before they are kept, and with a negative number when they are dropped; may refuse with
            an error.

    Raises:
        NoRoomError: `size` is more than `most`; the body is closed.
    """

    def __init__(
        self, what: str, body: Body, *, size: int | None, most: int, call_s: float, charge: Callable[[int], None]
    ) -> None:
        if size is not None and size > most:
            body.close()
            raise _too_long(what, most)
        self._what = what
        self._body: Body | None = body
        self._most = most
        self._call_s = call_s
        self._charge = charge
        self._pulling = Turn()
        self._state = threading.Lock()
        """Held for moments, over `_memory`, `_file` and `_filled`."""
        self._memory: bytearray | None = bytearray()
        self._file = -1
        self._filled = 0
        self._charged = 0
        self._digest = hashlib.sha256()
        self._failure: MountdError | None = None
        self._size = size

    @property
    def size(self) -> int | None:
        """In bytes, None until it is known."""
        return self._size

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be read from it any more."""
        return self._failure is not None

    def read(self, start: int, length: int) -> memoryview:
        """Return the bytes [start, start + length), cut at the end, once they have come.

        Raises:
            UnavailableError: they have not come in time; the copy goes on with the next call.
            MountdError: the answer broke off or is too long: the copy is of no use any more.
        """
        stop = start + max(0, length)
        if stop > self._filled:
            self._pull(stop)
        with self._state:
            if self._memory is not None:
                return memoryview(bytes(self._memory[start:stop]))
            if self._file < 0:
                raise self._broken()
            file, stop = os.dup(self._file), min(stop, self._filled)
        try:
            return _pread(file, start, max(0, stop - start))
        finally:
            os.close(file)

    def digest(self) -> str:
        """Return the SHA-256 of the whole file, in hexadecimal, once it has come; errors as in `read`."""
        self._pull(None)
        return self._digest.hexdigest()

    def close(self) -> None:
        """Drop the bytes, and the answer if it was not read to its end."""
        self._failure = self._failure or UnavailableError(f"{self._what}: its copy was dropped; try again")
        with self._pulling.taken_at_once() as mine:
            if mine:  # else who pulls drops it, after the piece under way
                self._drop()

    # ---- inside

    def _pull(self, stop: int | None) -> None:
        """See that all bytes before `stop` (None: all) have come, or the end."""
        progress = current()
        with self._pulling.taken(self._call_s) as mine:
            if not mine:
                raise self._late()
            while self._failure is None and self._body is not None and (stop is None or self._filled < stop):
                if not progress.left_s(self._call_s):
                    raise self._late()
                self._pull_piece(self._body)
            if self._failure is not None:
                self._drop()
                raise self._broken()

    def _pull_piece(self, body: Body) -> None:
        try:
            piece = body.read_some(_PIECE)
            if piece:
                self._keep(piece)
                return
            if self._size is not None and self._filled != self._size:
                raise CorruptError(f"{self._what}: {self._filled} bytes came, not {self._size}")
        except MountdError as error:
            self._failure = error
            return
        self._size = self._filled
        self._body = None
        body.close()

    def _keep(self, piece: bytes) -> None:
        filled = self._filled + len(piece)
        if filled > self._most:
            raise _too_long(self._what, self._most)
        self._charge(len(piece))
        self._charged += len(piece)
        self._digest.update(piece)
        if self._memory is not None and filled <= IN_MEMORY_BYTES:
            with self._state:
                self._memory += piece
                self._filled = filled
            return
        if self._memory is not None:
            file = _new_file(self._what)
            try:
                _write(file, self._memory, 0, self._what)
            except NoRoomError:
                os.close(file)
                raise
            with self._state:
                self._file, self._memory = file, None
        if self._filled // _LOOK_AT_DISK_EVERY != filled // _LOOK_AT_DISK_EVERY:
            _check_room(self._file, self._what)
        _write(self._file, piece, self._filled, self._what)
        self._filled = filled

    def _late(self) -> UnavailableError:
        return UnavailableError(
            f"{self._what}: its server sends it only as a whole, of which {self._filled} bytes have come; try again"
        )

    def _broken(self) -> MountdError:
        """Return the failure for one more caller: each raises an exception of its own."""
        failure = self._failure
        assert failure is not None
        return type(failure)(str(failure))

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()
        with self._state:
            file, self._file, self._memory = self._file, -1, None
        if file >= 0:
            os.close(file)
        charged, self._charged = self._charged, 0
        self._charge(-charged)


def _too_long(what: str, most: int) -> NoRoomError:
    return NoRoomError(
        f"{what}: its server sends it only as a whole, and it is longer than the {most // MIB} MiB that are kept for "
        "this; copy it to where parts can be read"
    )


def _new_file(what: str) -> int:
    try:
        with tempfile.TemporaryFile(prefix="mountd-web.") as file:
            return os.dup(file.fileno())
    except OSError as error:
        failure = NoRoomError(f"{what}: it comes whole, and the temp directory takes no file: {error.strerror}")
    raise failure


def _check_room(file: int, what: str) -> None:
    disk = os.fstatvfs(file)
    if disk.f_bavail * disk.f_frsize < KEEP_FREE_BYTES:
        raise NoRoomError(f"{what}: it comes whole, and the temp directory has less than 1 GiB left; set TMPDIR")


def _write(file: int, data: bytes | bytearray, offset: int, what: str) -> None:
    view = memoryview(data)
    try:
        while view:
            written = os.pwrite(file, view, offset)
            view, offset = view[written:], offset + written
    except OSError as error:
        failure = NoRoomError(f"{what}: it comes whole, and the temp directory takes no more: {error.strerror}")
    else:
        return
    raise failure


def _pread(file: int, start: int, length: int) -> memoryview:
    view = memoryview(bytearray(length))
    filled = 0
    while filled < length:
        got = os.preadv(file, [view[filled:]], start + filled)
        if got == 0:
            break
        filled += got
    return view[:filled]
