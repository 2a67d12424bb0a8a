"""Reads of files that the kernel carries out while the loop goes on: no thread waits, so none has to be changed to.

Changing to a thread and back, with one interpreter lock for both, costs more than a short read from a good disk does.
Linux has all that is needed to leave the thread out, and each call used here says no where it would have to wait:

- `openat2` with RESOLVE_CACHED opens only what needs no disk to be found (Linux 5.12), on a file system whose opens ask
  nobody else (`is_local`: a network's may wait for a server), and O_NOATIME keeps reading from writing to the journal;
- if the page cache holds half of the range (`page_cache`), `preadv2` with RWF_NOWAIT copies it: as it does where the
  file was filled a moment ago, memory is faster than any disk;
- else `io_submit` with O_DIRECT and RWF_NOWAIT starts a read, and an eventfd tells of its end (io_submit(2)). That
  leaves no second copy in the page cache, where what a mount reads ends as pages of the mount anyway.

Whatever any of them refuses is not done here: `read` returns None, and the caller does it in a thread.

Invariant: buffer and descriptor of a read that was started live until the kernel has told its end, whether or not
anybody still waits for it.
"""

import ctypes
import errno
import fcntl
import os
import platform
import stat
import struct

import outcome
import trio

from mountd.aio.buffers import unfilled, unfilled_on
from mountd.aio.page_cache import address_of, is_mostly_in_memory

BLOCK = 4096
"""Offsets, lengths and addresses of direct reads are multiples of it: of every disk's logical block."""

_libc = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter lock: none of these calls waits
_call = _libc.syscall
_call.restype = ctypes.c_long
_OPENAT2 = 437
_IO_SETUP, _IO_DESTROY, _IO_SUBMIT, _IO_GETEVENTS = {
    "x86_64": (206, 207, 209, 208),
    "aarch64": (0, 1, 2, 4),
}.get(platform.machine(), (-1, -1, -1, -1))
_RESOLVE_CACHED = 0x20
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME
_HOW = struct.pack("<QQQ", _FLAGS, 0, _RESOLVE_CACHED)
_RESFD = 1  # tell an eventfd
_CONTROL = struct.Struct("<QIIHhIQQqQII")  # struct iocb, linux/aio_abi.h
_EVENT = struct.Struct("<QQqq")  # struct io_event
_OVERLAY = 0x794C7630
_LOCAL = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0x9123683E,  # Btrfs
        0xF2F52010,  # F2FS
        0x2FC12FC1,  # ZFS
        0x01021994,  # tmpfs
        _OVERLAY,
    }
)
"""Magic numbers, statfs(2)."""
_statfs = ctypes.CDLL(None, use_errno=True).statfs  # may wait, and leaves the interpreter to others meanwhile
_NEVER = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""A file system, kernel or sandbox that says this once will always say it."""
_keep = ctypes.pythonapi.Py_IncRef
"""For reads that had not ended when their loop did: the kernel may still write to their buffers, also while the
interpreter ends and frees what modules hold."""


def is_local(directory: str) -> bool:
    """Return whether a file system opens and closes its files without waiting for anybody; blocks.

    Raises:
        OSError: it cannot be told.
    """
    return _kind(directory) in _LOCAL


def open_now(path: str) -> int | None:
    """Return a descriptor of what lies at `path` if that takes no disk; None: open it in a thread.

    Only where `is_local` says so.
    """
    descriptor: int = _call(_OPENAT2, -100, os.fsencode(path), _HOW, len(_HOW))
    return None if descriptor < 0 else descriptor


def is_overlay(directory: str) -> bool:
    """Return whether a directory lies on a file system that lies on others; blocks.

    Raises:
        OSError: it cannot be told.
    """
    return _kind(directory) == _OVERLAY


def _kind(directory: str) -> int:
    answer = bytearray(256)
    if _statfs(os.fsencode(directory), ctypes.c_void_p(address_of(answer))) != 0:
        raise OSError(ctypes.get_errno(), "statfs")
    return int.from_bytes(answer[:8], "little")


class _Read:
    """A read that was started, until the kernel has told its end."""

    __slots__ = ("buffer", "descriptor", "task")

    def __init__(self, descriptor: int, buffer: memoryview) -> None:
        self.descriptor = descriptor
        self.buffer = buffer
        self.task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        """Who waits; None once nobody does."""


class KernelReads:
    """Up to `most` reads at once; they are served while `run` runs."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._reads: dict[int, _Read] = {}
        self._free: list[int] = []
        """Places of control blocks that no read uses."""
        self._usable = False
        self._context = ctypes.c_ulong(0)
        self._told = -1
        self._controls = bytearray(_CONTROL.size * most)
        first = address_of(self._controls)
        self._pointers = (ctypes.c_void_p * most)(*(first + _CONTROL.size * place for place in range(most)))
        self._events = bytearray(_EVENT.size * most)
        self._events_at = ctypes.c_void_p(address_of(self._events))

    @property
    def under_way(self) -> int:
        """Reads whose end the kernel has not told yet."""
        return len(self._reads)

    async def read(self, path: str, start: int, stop: int) -> memoryview | None:
        """Return the bytes [start, stop) of a file, fewer where it ends before; None: read it in a thread.

        `start` is a multiple of `BLOCK`. Does not tell why it could not: the thread will meet the same.
        """
        if not (self._usable and self._free):
            return None
        await trio.lowlevel.checkpoint_if_cancelled()
        descriptor = open_now(path)
        if descriptor is None:
            return None
        started = None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            if is_mostly_in_memory(descriptor, start, stop):
                return _copied(descriptor, start, stop)
            started = self._start(descriptor, start, stop - start)
        except OSError as error:
            self._refused(error.errno)
            return None
        finally:
            if started is None:
                os.close(descriptor)
        count = await self._end_of(started)
        if count < 0:
            self._refused(-count)
            return None
        if count < min(stop, status.st_size) - start:
            return None  # the kernel stopped where it would have had to wait: that is no damage
        return started.buffer[: min(count, stop - start)]

    async def run(self) -> None:
        """Tell readers of the end of their reads, until cancelled."""
        if not self._open():
            return
        try:
            while True:
                await trio.lowlevel.wait_readable(self._told)
                self._reap()
        finally:
            self._close()

    # ---- inside

    def _refused(self, number: int | None) -> None:
        if number in _NEVER:
            self._usable = False

    def _open(self) -> bool:
        if _IO_SETUP < 0 or _call(_IO_SETUP, self._most, ctypes.byref(self._context)) != 0:
            return False
        try:
            self._told = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:  # no descriptor is left
            _call(_IO_DESTROY, self._context)
            return False
        self._free = list(range(self._most))
        self._usable = True
        return True

    def _close(self) -> None:
        self._usable = False
        for unended in self._reads.values():
            if unended.task is not None:
                trio.lowlevel.reschedule(unended.task, outcome.Value(-errno.ECANCELED))
                unended.task = None
        if self._reads:  # to end the context would be to wait for them; the end of the process does it
            for unended in self._reads.values():
                _keep(ctypes.py_object(unended))
            return
        _call(_IO_DESTROY, self._context)
        os.close(self._told)

    def _start(self, descriptor: int, start: int, length: int) -> _Read:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_DIRECT | os.O_NOATIME)
        whole = length + -length % BLOCK
        buffer = unfilled_on(BLOCK, whole)
        address = address_of(buffer)
        place = self._free.pop()
        control = (place, 0, os.RWF_NOWAIT, 0, 0, descriptor, address, whole, start, 0, _RESFD, self._told)
        _CONTROL.pack_into(self._controls, _CONTROL.size * place, *control)
        pointer = ctypes.byref(self._pointers, ctypes.sizeof(ctypes.c_void_p) * place)
        started = self._reads[place] = _Read(descriptor, buffer)  # before the kernel has it: nothing can fail after
        if _call(_IO_SUBMIT, self._context, 1, pointer) != 1:
            del self._reads[place]
            self._free.append(place)
            raise OSError(ctypes.get_errno(), "io_submit")
        return started

    async def _end_of(self, started: _Read) -> int:
        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            started.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        count: int = await trio.lowlevel.wait_task_rescheduled(abort)  # what `_reap` hands over
        return count

    def _reap(self) -> None:
        try:
            os.eventfd_read(self._told)
        except BlockingIOError:
            return
        at_once = struct.pack("<qq", 0, 0)
        count = _call(_IO_GETEVENTS, self._context, 0, self._most, self._events_at, at_once)
        for index in range(count):
            place, _, result, _ = _EVENT.unpack_from(self._events, _EVENT.size * index)
            ended = self._reads.pop(place)
            os.close(ended.descriptor)
            self._free.append(place)
            if ended.task is not None:
                trio.lowlevel.reschedule(ended.task, outcome.Value(result))


def _copied(descriptor: int, start: int, stop: int) -> memoryview | None:
    buffer = memoryview(unfilled(stop - start))
    return buffer if os.preadv(descriptor, [buffer], start, os.RWF_NOWAIT) == stop - start else None
