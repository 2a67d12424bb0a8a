"""The fuse ceiling: a pyfuse3 file system that answers everything at once from memory.

`python -m benchmarks.memory_fs` reads its set-up as one JSON line from standard input, mounts, prints `ready`, and
unmounts when standard input ends. It has what makes pyfuse3 fast (the poll fast path, read-ahead and max_background
raised, kernel caching for ever) and nothing else: one flat directory of generated files.
"""

# ruff: noqa: ARG002 - pyfuse3 fixes the signatures of its handlers

import errno
import os
import select
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pyfuse3
import trio

from benchmarks.origin.settings import Dataset
from benchmarks.origin.tape import LARGE_PAGES, Tape

READ_AHEAD_KIB = 4096
MAX_BACKGROUND = 64
_FOREVER_S = 1e6
_TASKS = 200
_FAIR_EVERY = 64
_HOOK = "_wait_fuse_readable"


class MemorySetup(msgspec.Struct, kw_only=True):
    """What to show where."""

    mountpoint: str
    dataset: Dataset
    tape_pages: int = LARGE_PAGES


class MemoryFileSystem(pyfuse3.Operations):
    """Files 0 … count - 1 have the inodes 2 … count + 1, which are their handles as well."""

    enable_writeback_cache = False

    def __init__(self, dataset: Dataset, tape: Tape) -> None:
        super().__init__()
        self._size = dataset.size
        self._view = tape.view
        self._tape = tape
        self._names = [dataset.pattern.format(index=index, group=0).encode() for index in range(dataset.count)]
        self._inodes = {name: index + 2 for index, name in enumerate(self._names)}
        self._starts = [tape.start_of(dataset.container, name.decode(), 0) for name in self._names]

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFDIR | 0o755 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o644
        entry.st_size = 0 if inode == pyfuse3.ROOT_INODE else self._size
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.entry_timeout = entry.attr_timeout = _FOREVER_S
        return entry

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext | None = None) -> pyfuse3.EntryAttributes:
        return self._attributes(inode)

    async def lookup(self, parent: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        inode = self._inodes.get(name)
        if inode is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._attributes(inode)

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        return inode

    async def readdir(self, fh: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        for index in range(start, len(self._names)):
            if not pyfuse3.readdir_reply(token, self._names[index], self._attributes(index + 2), index + 1):
                return

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        size = max(0, min(size, self._size - off))
        start = (self._starts[fh - 2] + off) % self._tape.length
        if start + size <= self._tape.length:
            return self._view[start : start + size]  # type: ignore[return-value] # any buffer will do
        return self._tape.read(start, size)


def _fast_wait(descriptor: int) -> Callable[[], Awaitable[bool]]:
    """Return pyfuse3's wait with a look at the descriptor before it; see `mountd.fuse.fastpath` for the why."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    original, turns = getattr(pyfuse3, _HOOK), 0

    async def wait() -> bool:
        nonlocal turns
        turns += 1
        if turns % _FAIR_EVERY == 0:
            await trio.lowlevel.checkpoint()
        while not poller.poll(0):
            if not await original():
                return False
        return True

    return wait


def _descriptor() -> int:
    links = Path("/proc/self/fd").iterdir()
    return next(int(link.name) for link in links if link.is_symlink() and os.readlink(link) == "/dev/fuse")


async def _end_with_input(lines: trio.lowlevel.FdStream) -> None:
    while await lines.receive_some():
        pass
    pyfuse3.terminate()


async def _serve(setup: MemorySetup) -> None:
    tape = Tape(pages=setup.tape_pages)
    pyfuse3.init(
        MemoryFileSystem(setup.dataset, tape), setup.mountpoint, {*pyfuse3.default_options, "fsname=memory", "ro"}
    )
    try:
        setattr(pyfuse3, _HOOK, _fast_wait(_descriptor()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_with_input, trio.lowlevel.FdStream(os.dup(0)))
            print("ready", flush=True)
            await pyfuse3.main(max_tasks=_TASKS)
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=True)


def main() -> None:
    setup = msgspec.json.decode(os.read(0, 1 << 20), type=MemorySetup)
    trio.run(_serve, setup)


if __name__ == "__main__":
    main()
