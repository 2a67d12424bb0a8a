"""The direct engine over a real file system, with a test in the place of the kernel."""

import errno
import os
import socket
import stat
import struct

import trio

from mountd.fuse import protocol
from mountd.fuse.convert import AttributePacker, Ownership
from mountd.fuse.direct import DirectEngine
from mountd.fuse.failures import Failures
from mountd.units import KIB, MIB
from tests.support.memory_mount import MemoryMount

ROOT = 1
OFFERED = 0xFFFF_FFFF


class Gate:
    """Holds calls of one method of the store until it is opened."""

    def __init__(self, store, method):
        self._method = method
        self._arrived = trio.Event()
        self._open = trio.Event()
        store.fault = self

    async def __call__(self, method, _key):
        if method == self._method:
            self._arrived.set()
            await self._open.wait()

    async def reached(self):
        with trio.fail_after(20):
            await self._arrived.wait()

    def open(self):
        self._open.set()


class Kernel:
    """The other side: sends requests and takes replies."""

    def __init__(self, nursery, opens=None, **options):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 * MIB)
        ours.setblocking(False)
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._theirs = theirs
        self._unique = 0
        self.mount = MemoryMount(nursery, **options)
        self.failures = Failures()
        self.engine = DirectEngine(
            theirs.fileno(),
            self.mount.fs,
            AttributePacker(Ownership(12, 34, 0o640, 0o750)),
            self.failures,
            largest_read=256 * KIB,
            max_background=64,
            congestion=48,
            opens=opens,
        )

    async def send(self, opcode, node=ROOT, body=b"", *, caller=9):
        self._unique += 1
        head = protocol.IN_HEADER.pack(40 + len(body), opcode, self._unique, node, 0, 0, caller, 0, 0)
        await self._socket.send(head + body)
        return self._unique

    async def reply(self):
        """Return errno, unique and body of the next reply."""
        with trio.fail_after(20):
            message = await self._socket.recv(2 * MIB)
        length, error, unique = protocol.OUT_HEADER.unpack_from(message)
        assert length == len(message)
        return -error, unique, message[16:]

    async def ask(self, opcode, node=ROOT, body=b"", **more):
        unique = await self.send(opcode, node, body, **more)
        error, answered, data = await self.reply()
        assert answered == unique
        return (errno.errorcode[error] if error else 0), data

    async def init(self, major=7, minor=45, offered=OFFERED, more=0):
        return await self.ask(protocol.INIT, 0, struct.pack("=IIIIII40x", major, minor, 131072, offered, more, 0))

    async def waits_in_a_task(self):
        """Return once nothing waits without one."""
        with trio.fail_after(20):
            while self.engine._openings._waiting:  # noqa: ASYNC110 - nobody is told
                await trio.sleep(0.005)

    async def lookup(self, name, node=ROOT):
        error, data = await self.ask(protocol.LOOKUP, node, name + b"\0")
        return error or protocol.ENTRY_OUT.unpack_from(data)[0]

    async def open(self, node, flags=os.O_RDONLY):
        error, data = await self.ask(protocol.OPEN, node, struct.pack("=II", flags, 0))
        return error or protocol.OPEN_OUT.unpack(data)[0]

    async def entries(self, handle, offset=0, size=4096):
        """Return names and offsets of one READDIRPLUS."""
        error, data = await self.ask(protocol.READDIRPLUS, ROOT, read_in(handle, offset, size))
        assert error == 0
        assert len(data) <= size
        found = []
        while data:
            nodeid = protocol.ENTRY_OUT.unpack_from(data)[0]
            ino, next_offset, length, kind = protocol.DIRENT.unpack_from(data, 128)
            mode = protocol.ATTR.unpack_from(data, 40)[9]
            assert (ino, kind) == (nodeid, stat.S_IFMT(mode) >> 12)
            found.append((data[152 : 152 + length], next_offset))
            data = data[152 + length + -length % 8 :]
        return found

    def close(self):
        self._socket.close()
        self._theirs.close()


def read_in(handle, offset, size):
    return protocol.READ_IN.pack(handle, offset, size) + bytes(20)
