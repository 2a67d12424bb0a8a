"""The kernel's requests as pyfuse3 has them, translated and handed to the file system; nothing is decided here.

No exception may leave a handler but `FUSEError`: any other would end the session.
"""

import errno
import functools
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NoReturn, ParamSpec, TypeVar

import pyfuse3
import trio

from mountd.fuse import protocol
from mountd.fuse.convert import FOREVER_S, AttributeMaker
from mountd.fuse.failures import Failures
from mountd.vfs.filesystem import FileSystem

P = ParamSpec("P")
R = TypeVar("R")

CHANGES = (
    *("create", "link", "mkdir", "mknod", "removexattr", "rename"),
    *("rmdir", "setattr", "setxattr", "symlink", "unlink", "write"),
)
"""The requests that the kernel itself refuses, until somebody remounts the file system writable."""


def handler(operation: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Let nothing but `FUSEError` out of a request handler."""

    @functools.wraps(operation)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await operation(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            operations: Operations = args[0]  # type: ignore[assignment] # methods only
            raise pyfuse3.FUSEError(operations.failures.errno_of(operation.__name__.strip("_"), error)) from error

    return guarded


class Operations(pyfuse3.Operations):
    """The request handlers of one session, which is mounted read-only.

    Args:
        filesystem: does the work.
        attributes: makes the kernel's attributes.
        failures: say what to answer to what went wrong.
    """

    supports_dot_lookup = True
    enable_writeback_cache = False

    def __init__(self, filesystem: FileSystem, attributes: AttributeMaker, failures: Failures) -> None:
        super().__init__()
        self._fs = filesystem
        self._attributes = attributes
        self.failures = failures
        self.initialised = trio.Event()
        """Set as INIT, the first request of all, is being answered; who waits for it runs when it has been."""

    def init(self) -> None:
        self.initialised.set()

    @handler
    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        looked = await self._fs.lookup(parent_inode, name, caller=ctx.pid)
        if looked.attributes is None:
            return self._attributes.absent(looked.valid_s)
        return self._attributes.entry(looked.attributes, looked.valid_s)

    async def forget(self, inode_list: Sequence[tuple[pyfuse3.InodeT, int]]) -> None:
        # It has no reply: nothing between here and the end of the session would catch an error meant for one.
        with suppress(pyfuse3.FUSEError):
            await self._forget(inode_list)

    @handler
    async def _forget(self, inode_list: Sequence[tuple[pyfuse3.InodeT, int]]) -> None:
        for ino, count in inode_list:
            self._fs.forget(ino, count)

    @handler
    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._attributes.entry(self._fs.getattr(inode), FOREVER_S)

    @handler
    async def open(self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        if flags & protocol.WRITING:
            raise pyfuse3.FUSEError(errno.EROFS)
        number = await self._fs.open(inode, caller=ctx.pid)
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(number), keep_cache=True)

    @handler
    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        data = self._fs.read_nowait(fh, off, size)
        if data is None:
            data = await self._fs.read_late(fh, off, size)
        return data  # type: ignore[return-value] # any buffer will do

    @handler
    async def flush(self, fh: pyfuse3.FileHandleT) -> None:
        # There is nothing to flush, and after this answer the kernel does not ask again: a request less for each close.
        raise pyfuse3.FUSEError(errno.ENOSYS)

    @handler
    async def fsync(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        return None

    @handler
    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        self._fs.release(fh)

    @handler
    async def opendir(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        return pyfuse3.FileHandleT(self._fs.opendir(inode))

    @handler
    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        entry: pyfuse3.EntryAttributes | None = None
        for name, attributes, valid_s, next_offset, node in await self._fs.entries(fh, start_id):
            if entry is None:
                entry = self._attributes.entry(attributes, valid_s)
            else:
                self._attributes.fill(entry, attributes, valid_s)
            taken = pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), entry, next_offset)
            self._fs.offered(node, taken=taken)
            if not taken:
                break

    @handler
    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        self._fs.release(fh)

    @handler
    async def fsyncdir(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        return None

    @handler
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        capacity = self._fs.statfs()
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_blocks = capacity.total_bytes // 4096
        data.f_bfree = data.f_bavail = capacity.free_bytes // 4096
        data.f_files = capacity.files
        data.f_ffree = data.f_favail = capacity.files
        data.f_namemax = 255
        return data


async def _refuse(*_request: object) -> NoReturn:
    raise pyfuse3.FUSEError(errno.EROFS)


for change in CHANGES:
    setattr(Operations, change, _refuse)
