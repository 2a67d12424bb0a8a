"""A worker whose mount is an empty directory, and which goes wrong in the way that its specification's path names.

ok            serves until unmounted or told to stop
denied        the storage refuses
bug           an exception that nobody foresaw, with a secret in it
never         the storage never answers
dies          is killed before there is a mount
dies-mounted  is killed between mounting and serving
silent        mounts and never answers a request
deaf          does not heed a request to stop
FILE          dies if FILE exists, otherwise serves
"""

import os
import signal
import stat
import sys
from contextlib import suppress

import pyfuse3
import trio

from mountd.daemon import worker
from mountd.errors import DeniedError
from mountd.fuse import mount_table
from mountd.observe.statistics import MountStatistics


class EmptyDirectory(pyfuse3.Operations):
    """The smallest file system that a stat and a listing work on."""

    async def getattr(self, inode, ctx=None):
        attributes = pyfuse3.EntryAttributes()
        attributes.st_ino = inode
        attributes.st_mode = stat.S_IFDIR | 0o755
        attributes.attr_timeout = 0
        return attributes

    async def opendir(self, inode, ctx):
        return inode

    async def readdir(self, handle, start, token):
        return

    async def statfs(self, ctx):
        return pyfuse3.StatvfsData()


class Served:
    """The mount as the worker sees it."""

    def __init__(self, deaf):
        self.stop = trio.Event()
        self.is_over = False
        self._deaf = deaf

    async def refresh(self):
        await trio.sleep_forever()  # a disk that hangs

    def statistics(self):
        return MountStatistics(reads=7, waiting_for=["getattr /: 9.0 s"])

    def describe(self):
        return {"mode": "odd"}

    def prefetch(self, patterns, *, pinned, ticket):
        pass

    def request_stop(self):
        if not self._deaf:
            self.stop.set()

    async def serve(self):
        await pyfuse3.main()
        self.is_over = True


def in_trouble(how):
    """Whether `how` is a file that is there."""
    return how.startswith("/") and os.path.exists(how)


async def serve(spec, *, task_status):
    """Go wrong as asked, or serve."""
    how = spec.location.path
    if how == "denied":
        raise DeniedError("the storage says no; ask for permission")
    if how == "bug":
        raise ValueError("https://a/c?sig=c2VjcmV0c2VjcmV0 was not foreseen")
    if how == "never":
        await trio.sleep_forever()
    if how == "dies" or in_trouble(how):
        os.kill(os.getpid(), signal.SIGKILL)
    mount_table.heal(spec.mountpoint)
    pyfuse3.init(EmptyDirectory(), spec.mountpoint, {"fsname=odd", "subtype=mountd"})
    if how == "dies-mounted":
        os.kill(os.getpid(), signal.SIGKILL)
    served = Served(how == "deaf")
    try:
        async with trio.open_nursery() as nursery:
            task_status.started(served)
            if how == "silent":
                await trio.sleep_forever()

            async def heed_stop():
                await served.stop.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(heed_stop)
            await served.serve()
            nursery.cancel_scope.cancel()
    finally:
        with suppress(RuntimeError):
            pyfuse3.close(unmount=True)
    return "stopped" if served.stop.is_set() else "unmounted"


if __name__ == "__main__":
    if sys.argv[1:] == ["broken"]:
        raise ImportError("a worker that cannot even start")
    worker.main(lambda: serve)
