"""How Linux drives a file system through FUSE, without a kernel: dentries, revalidation, ESTALE retries, forgets.

After `fs/fuse/dir.c` (`fuse_dentry_revalidate`, `fuse_direntplus_link`) and `fs/namei.c` (a walk that met ESTALE is
tried once more with LOOKUP_REVAL). No page cache: every read reaches the file system.
"""

import trio

from mountd.errors import IsDirectoryError, MountdError, NotDirectoryError, NotFoundError, StaleHandleError
from mountd.fuse.openings import MOMENT_S
from mountd.tree.inodes import ROOT


class Inode:
    """What the kernel knows of one inode: `lookups` it owes the file system, `uses` of its own."""

    def __init__(self, ino, is_directory):
        self.ino = ino
        self.is_directory = is_directory
        self.lookups = 0
        self.uses = 0


class Dentry:
    """A name, or the absence of one (`inode` None), good until `valid_until`."""

    def __init__(self, parent, inode, valid_until):
        self.parent = parent
        self.inode = inode
        self.valid_until = valid_until


class OpenFile:
    """An open file or directory."""

    def __init__(self, number, inode, mtime_ns=0):
        self.number = number
        self.inode = inode
        self.mtime_ns = mtime_ns
        self.busy = 0


class KernelModel:
    """The kernel's side of one mount.

    Args:
        filesystem: a `FileSystem`.
        longest_s: no request may take longer than this to be answered.
    """

    def __init__(self, filesystem, *, longest_s):
        self.fs = filesystem
        self._longest_s = longest_s
        self.root = Inode(ROOT, True)
        self.root.uses = 1
        self.inodes = {ROOT: self.root}
        self.dentries = {}

    # ---- system calls

    async def stat(self, path):
        """Return the attributes of a path; errors as the file system's."""
        inode = await self._walk_as_callers_do(path)
        try:
            return self.fs.getattr(inode.ino)
        finally:
            self._put(inode)

    async def open(self, path):
        """Open a file; a stale inode is looked up again once, unseen by the caller."""
        for reval in (False, True):
            inode = None
            try:
                inode = await self._walk(path, reval=reval)
                if inode.is_directory:
                    raise IsDirectoryError(path)
                number = await self._request(self._open, inode.ino)
            except StaleHandleError:
                if inode is not None:
                    self._put(inode)
                if reval:
                    raise
            except BaseException:
                if inode is not None:
                    self._put(inode)
                raise
            else:
                return OpenFile(number, inode, self.fs.getattr(inode.ino).mtime_ns)
        raise AssertionError("the loop returns or raises")

    async def read(self, opened, offset, length):
        """Read from an open file."""
        opened.busy += 1
        try:
            with trio.fail_after(self._longest_s):
                return bytes(await self.fs.read(opened.number, offset, length))
        finally:
            opened.busy -= 1

    def close(self, opened):
        """Close a file or directory."""
        self.fs.release(opened.number)
        self._put(opened.inode)

    async def opendir(self, path):
        """Open a directory."""
        inode = await self._walk_as_callers_do(path)
        try:
            if not inode.is_directory:
                raise NotDirectoryError(path)
            return OpenFile(self.fs.opendir(inode.ino), inode)
        except BaseException:
            self._put(inode)
            raise

    async def getdents(self, opened, offset, room):
        """Return up to `room` entries as (name, attributes, next offset); none at the end."""
        opened.busy += 1
        try:
            taken = []
            with trio.fail_after(self._longest_s):
                entries = await self.fs.entries(opened.number, offset)
            for name, attributes, valid_s, next_offset, node in entries:
                self.fs.offered(node, taken=len(taken) < room)
                if len(taken) == room:
                    break
                if node is not None:
                    self._link(opened.inode, name, attributes, valid_s)
                taken.append((name, attributes, next_offset))
            return taken
        finally:
            opened.busy -= 1

    async def listdir(self, path, room=100):
        """Return {name: attributes} of a directory, without `.` and `..`; every name comes once."""
        opened = await self.opendir(path)
        try:
            found, offset = {}, 0
            while entries := await self.getdents(opened, offset, room):
                for name, attributes, next_offset in entries:
                    assert next_offset > offset
                    offset = next_offset
                    assert name not in found
                    found[name] = attributes
            assert list(found)[:2] == [b".", b".."]
            return {name: attributes for name, attributes in found.items() if name not in (b".", b"..")}
        finally:
            self.close(opened)

    async def read_file(self, path, step=1 << 17):
        """Return a file's bytes as a program that opens, reads to the end and closes."""
        opened = await self.open(path)
        try:
            pieces, offset = [], 0
            while piece := await self.read(opened, offset, step):
                pieces.append(piece)
                offset += len(piece)
            return b"".join(pieces)
        finally:
            self.close(opened)

    def drop_caches(self):
        """Forget every name that no open file needs."""
        for key in list(self.dentries):
            self._drop(key)

    async def _request(self, operation, *args):
        """Send a request of the calling thread; each task stands for one."""
        with trio.fail_after(self._longest_s):
            return await operation(*args, caller=id(trio.lowlevel.current_task()))

    async def _open(self, ino, *, caller):
        """Open as the engine does: without a task for the first moment, if that goes."""
        answered, outcomes = trio.Event(), []

        def done(outcome):
            outcomes.append(outcome)
            answered.set()

        begun = self.fs.begin_open(ino, done, caller=caller)
        if isinstance(begun, int):
            return begun
        if begun is not None:
            try:
                with trio.move_on_after(MOMENT_S):
                    await answered.wait()
            except BaseException:
                if not outcomes:
                    begun.give_up()
                elif isinstance(outcomes[0], int):
                    self.fs.release(outcomes[0])
                raise
            if not outcomes:
                begun.give_up()
            elif isinstance(outcomes[0], Exception):
                raise outcomes[0]
            elif outcomes[0] is not None:
                return outcomes[0]
        return await self.fs.open(ino, caller=caller)

    # ---- the walk

    async def _walk_as_callers_do(self, path):
        try:
            return await self._walk(path, reval=False)
        except StaleHandleError:
            return await self._walk(path, reval=True)

    async def _walk(self, path, *, reval):
        """Return the inode of a path, in use."""
        inode = self._get(self.root)
        for part in path.split("/") if path else []:
            try:
                if not inode.is_directory:
                    raise NotDirectoryError(path)
                child = await self._step(inode, part.encode("utf-8", "surrogateescape"), reval)
            finally:
                self._put(inode)
            inode = child
        return inode

    async def _step(self, parent, name, reval):
        key = parent.ino, name
        dentry = self.dentries.get(key)
        if dentry is not None:
            if trio.current_time() < dentry.valid_until and not reval:
                if dentry.inode is None:
                    raise NotFoundError(name.decode("utf-8", "replace"))
                return self._get(dentry.inode)
            if dentry.inode is not None and await self._revalidate(dentry, name):
                return self._get(dentry.inode)
            if self.dentries.get(key) is dentry:
                self._drop(key)
        attributes, valid_s = await self._request(self.fs.lookup, parent.ino, name)
        self._link(parent, name, attributes, valid_s)
        if attributes is None:
            raise NotFoundError(name.decode("utf-8", "replace"))
        return self._get(self.inodes[attributes.ino])

    async def _revalidate(self, dentry, name):
        self._get(dentry.inode)
        try:
            attributes, valid_s = await self._request(self.fs.lookup, dentry.parent.ino, name)
            if attributes is None:
                return False
            if attributes.ino != dentry.inode.ino:
                self.fs.forget(attributes.ino, 1)
                return False
            dentry.inode.lookups += 1
            dentry.valid_until = trio.current_time() + valid_s
            return self.dentries.get((dentry.parent.ino, name)) is dentry
        except MountdError:
            return False
        finally:
            self._put(dentry.inode)

    def _link(self, parent, name, attributes, valid_s):
        """Take the answer of a lookup, or an entry of readdirplus: both count as one lookup."""
        key = parent.ino, name
        valid_until = trio.current_time() + valid_s
        inode = None
        if attributes is not None:
            inode = self.inodes.get(attributes.ino)
            if inode is None:
                inode = self.inodes[attributes.ino] = Inode(attributes.ino, attributes.is_directory)
            assert inode.is_directory == attributes.is_directory
            inode.lookups += 1
        before = self.dentries.get(key)
        if before is not None and before.inode is inode:
            before.valid_until = valid_until
            return
        self.dentries[key] = Dentry(self._get(parent), inode and self._get(inode), valid_until)
        if before is not None:
            self._let_go(before)

    # ---- counting

    def _drop(self, key):
        self._let_go(self.dentries.pop(key))

    def _let_go(self, dentry):
        if dentry.inode is not None:
            self._put(dentry.inode)
        self._put(dentry.parent)

    def _get(self, inode):
        inode.uses += 1
        return inode

    def _put(self, inode):
        inode.uses -= 1
        if inode.uses == 0:
            del self.inodes[inode.ino]
            self.fs.forget(inode.ino, inode.lookups)
