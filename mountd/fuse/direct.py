"""An engine that answers the kernel's requests itself, straight from the descriptor.

Most requests are answered where they are read, without a task: lookups that ask nothing, reads of what is in memory.
One that has to wait gets a task of its own, so that any number of them holds up nobody. Those that are there together
are handled by kind, for what is done alike finds the processor's caches warm. Beside what all that saves, the kernel
learns at INIT what libfuse never tells it: that lookups in one directory may run side by side, and how many requests
may be under way.

Nothing is decided here but how to answer; what, is `vfs`'s. No exception of a request ends the session.
"""

import errno
import mmap
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

import trio

from mountd.errors import SetupError
from mountd.fuse import protocol
from mountd.fuse.channel import Channel
from mountd.fuse.convert import AttributePacker
from mountd.fuse.failures import Failures
from mountd.fuse.fastpath import FAIR_EVERY
from mountd.fuse.open_answers import CachedAnswers, OpenAnswers
from mountd.fuse.openings import Openings
from mountd.vfs.attributes import Looked
from mountd.vfs.filesystem import FileSystem
from mountd.vfs.opens import Opening

WANTED = (
    *(protocol.ASYNC_READ, protocol.ATOMIC_O_TRUNC, protocol.EXPORT_SUPPORT, protocol.BIG_WRITES),
    *(protocol.AUTO_INVAL_DATA, protocol.DO_READDIRPLUS, protocol.ASYNC_DIO, protocol.PARALLEL_DIROPS),
    protocol.MAX_PAGES,
)
CHANGES = (
    *(protocol.SETATTR, protocol.SYMLINK, protocol.MKNOD, protocol.MKDIR, protocol.UNLINK, protocol.RMDIR),
    *(protocol.RENAME, protocol.LINK, protocol.WRITE, protocol.SETXATTR, protocol.REMOVEXATTR, protocol.CREATE),
    *(protocol.RENAME2, protocol.TMPFILE),
)
"""The requests that the kernel itself refuses, until somebody remounts the file system writable."""
UNANSWERED = frozenset({protocol.FORGET, protocol.BATCH_FORGET, protocol.INTERRUPT, protocol.NOTIFY_REPLY})
"""Requests without a reply. An interrupt is none either: a read that was begun is answered, as on a disk."""

Handler = Callable[[int, int, int, bytes], None]
"""Takes unique, node, calling thread and the request, header included; answers, now or later."""

AT_ONCE = 16
"""Requests that are received before the first of them is handled."""
FIRST = (
    (protocol.READ,),
    (protocol.FORGET, protocol.BATCH_FORGET),
    (protocol.RELEASE,),
    (protocol.OPEN,),
    (protocol.LOOKUP,),
)
"""Which of those that were received together are handled first: bytes that somebody waits for, then what asks the store
for more. What is waited for at the same time, the kernel has put in no order. For a FORGET or a RELEASE nobody waits:
the same thread may have sent a LOOKUP or an OPEN after it, which is to find the file let go, for an inode that the
kernel has dropped has no pages any more. Of one file it sends no READ after the RELEASE."""
MOST_LISTED = 512
"""Entries of one READDIRPLUS. The kernel has room for 5,000, and asks again for the rest: while all of them were
packed, nobody else was answered for 45 ms."""
PLACES = {opcode: place for place, opcodes in enumerate(FIRST) for opcode in opcodes}


class DirectEngine:
    """The requests of one session.

    Args:
        descriptor: of `/dev/fuse`, mounted, nothing read yet; it stays the caller's.
        largest_read: bytes of one READ, whole pages, at most `protocol.LARGEST_REQUEST`.
        max_background: how many requests the kernel may have under way that nobody waits for.
        congestion: from how many on it reads less ahead.
        opens: says how files are opened; by default through the kernel's page cache.
    """

    def __init__(
        self,
        descriptor: int,
        filesystem: FileSystem,
        attributes: AttributePacker,
        failures: Failures,
        *,
        largest_read: int,
        max_background: int,
        congestion: int,
        opens: OpenAnswers | None = None,
    ) -> None:
        self._channel = Channel(descriptor)
        self._fs = filesystem
        self._attributes = attributes
        self._failures = failures
        self._background = (max_background, congestion)
        self._most_pages = largest_read // mmap.PAGESIZE
        self._opens = CachedAnswers() if opens is None else opens
        self._reading = trio.CancelScope()
        self._late: trio.Nursery | None = None
        self._openings = Openings()
        self.initialised = trio.Event()
        """Set once INIT, the first request of all, has been answered."""
        self._handlers: dict[int, Handler] = {
            protocol.INIT: self._init,
            protocol.LOOKUP: self._lookup,
            protocol.FORGET: self._forget,
            protocol.BATCH_FORGET: self._batch_forget,
            protocol.GETATTR: self._getattr,
            protocol.OPEN: self._open,
            protocol.READ: self._read,
            protocol.RELEASE: self._release,
            protocol.OPENDIR: self._opendir,
            protocol.READDIRPLUS: self._readdirplus,
            protocol.RELEASEDIR: self._release,
            protocol.STATFS: self._statfs,
            # Each answer of these is "done": there is nothing to bring to a disk.
            **dict.fromkeys((protocol.FSYNC, protocol.FSYNCDIR, protocol.DESTROY), self._done),
            **dict.fromkeys(CHANGES, self._refused),
            **dict.fromkeys((protocol.INTERRUPT, protocol.NOTIFY_REPLY), self._nothing),
        }
        """What is not here is answered with ENOSYS, on which the kernel does not ask again: FLUSH at each close too."""

    def request_stop(self) -> None:
        """Make `serve` take no more requests and return when those under way are answered."""
        self._reading.cancel()

    async def serve(self) -> None:
        """Answer requests until the kernel ends the session, or `request_stop`.

        Raises:
            SetupError: the kernel speaks no version of the protocol that is known here.
        """
        try:
            async with trio.open_nursery() as late:
                self._late = late
                late.start_soon(self._openings.look_after)
                with self._reading:
                    await self._serve()
                    late.cancel_scope.cancel()  # nobody waits for them any more
                self._openings.end()
        finally:
            self._openings.drop()
            await self._channel.aclose()

    async def _serve(self) -> None:
        channel, unpack = self._channel, protocol.IN_HEADER.unpack_from
        turns = 0
        while not channel.ended:
            requests = channel.receive(AT_ONCE)
            if not requests and not channel.ended:
                await channel.wait()
                turns = 0
            heads: list[tuple[Any, ...]] = [(*unpack(request), request) for request in requests]
            if len(heads) > 1:
                heads.sort(key=_rank)
            for _, opcode, unique, node, _, _, caller, _, _, request in heads:
                self._handle(opcode, unique, node, caller, request)
            turns += len(heads)
            if turns >= FAIR_EVERY:
                turns = 0
                await trio.lowlevel.checkpoint()

    def _handle(self, opcode: int, unique: int, node: int, caller: int, request: bytes) -> None:
        handler = self._handlers.get(opcode)
        if handler is None:
            self._channel.fail(unique, errno.ENOSYS)
            return
        try:
            handler(unique, node, caller, request)
        except Exception as error:
            if opcode == protocol.INIT:
                raise  # without it there is no session
            self._fail(unique, _name(handler), error, answered=opcode not in UNANSWERED)

    def _fail(self, unique: int, operation: str, error: Exception, *, answered: bool = True) -> None:
        number = self._failures.errno_of(operation, error)
        if answered:
            self._channel.fail(unique, number)

    def _answer_later(
        self,
        operation: str,
        unique: int,
        answer: Callable[..., Awaitable[bytes | bytearray | memoryview]],
        *args: object,
    ) -> None:
        assert self._late is not None, "requests come while the engine serves"
        self._late.start_soon(self._answer, operation, unique, answer, args)

    async def _answer(
        self,
        operation: str,
        unique: int,
        answer: Callable[..., Awaitable[bytes | bytearray | memoryview]],
        args: tuple[object, ...],
    ) -> None:
        try:
            self._channel.reply(unique, await answer(*args))
        except Exception as error:  # noqa: BLE001 - becomes an errno
            self._fail(unique, operation, error)

    # ---- the session

    def _init(self, unique: int, _node: int, _caller: int, request: bytes) -> None:
        major, minor, max_readahead, offered = protocol.INIT_IN.unpack_from(request, protocol.BODY)
        if major != protocol.MAJOR or minor < protocol.OLDEST_MINOR or not offered & protocol.DO_READDIRPLUS:
            self._channel.fail(unique, errno.EPROTO)
            raise SetupError(
                f"the kernel speaks FUSE {major}.{minor}, which is not known here; mount with -o fuse_engine=libfuse"
            )
        if offered & protocol.INIT_EXT:
            (more,) = protocol.INIT_IN_MORE.unpack_from(request, protocol.BODY + protocol.INIT_IN.size)
            offered |= more << 32
        added, stack_depth = self._opens.wanted(offered)
        flags = sum(flag for flag in WANTED if flag & offered) | added
        self._channel.reply(
            unique,
            protocol.INIT_OUT.pack(
                *(protocol.MAJOR, protocol.MINOR, max_readahead, flags & 0xFFFF_FFFF, *self._background),
                *(protocol.LARGEST_REQUEST, 1, self._most_pages, 0, flags >> 32, stack_depth),
            ),
        )  # fmt: skip
        self.initialised.set()

    def _statfs(self, unique: int, _node: int, _caller: int, _request: bytes) -> None:
        capacity = self._fs.statfs()
        blocks, free, files = capacity.total_bytes // 4096, capacity.free_bytes // 4096, capacity.files
        self._channel.reply(unique, protocol.STATFS_OUT.pack(blocks, free, free, files, files, 4096, 255, 4096))

    def _done(self, unique: int, _node: int, _caller: int, _request: bytes) -> None:
        self._channel.reply(unique)

    def _refused(self, unique: int, _node: int, _caller: int, _request: bytes) -> None:
        self._channel.fail(unique, errno.EROFS)

    def _nothing(self, _unique: int, _node: int, _caller: int, _request: bytes) -> None:
        """There is no reply."""

    # ---- names

    def _lookup(self, unique: int, node: int, caller: int, request: bytes) -> None:
        name = request[protocol.BODY : -1]
        looked = self._fs.lookup_nowait(node, name, caller=caller)
        if looked is None:
            self._answer_later("lookup", unique, self._looked_up, node, name, caller)
        else:
            self._channel.reply(unique, self._entry(looked))

    async def _looked_up(self, node: int, name: bytes, caller: int) -> bytes:
        return self._entry(await self._fs.lookup(node, name, caller=caller))

    def _entry(self, looked: Looked) -> bytes:
        if looked.attributes is None:
            return self._attributes.absent(looked.valid_s)
        return self._attributes.entry(looked.attributes, looked.valid_s)

    def _forget(self, _unique: int, node: int, _caller: int, request: bytes) -> None:
        (count,) = protocol.FORGET_IN.unpack_from(request, protocol.BODY)
        self._fs.forget(node, count)

    def _batch_forget(self, _unique: int, _node: int, _caller: int, request: bytes) -> None:
        (count,) = protocol.BATCH_FORGET_IN.unpack_from(request, protocol.BODY)
        position = protocol.BODY + protocol.BATCH_FORGET_IN.size
        for _ in range(count):
            self._fs.forget(*protocol.FORGET_ONE.unpack_from(request, position))
            position += protocol.FORGET_ONE.size

    def _getattr(self, unique: int, node: int, _caller: int, _request: bytes) -> None:
        self._channel.reply(unique, self._attributes.attributes(self._fs.getattr(node)))

    # ---- files

    def _open(self, unique: int, node: int, caller: int, request: bytes) -> None:
        (flags,) = protocol.OPEN_IN.unpack_from(request, protocol.BODY)
        if flags & protocol.WRITING:
            self._channel.fail(unique, errno.EROFS)
            return

        def in_a_task() -> None:
            self._answer_later("open", unique, self._opened, node, caller, flags)

        def answer(outcome: int | Exception | None) -> None:
            if outcome is None:
                in_a_task()
            elif not isinstance(outcome, int):
                self._fail(unique, "open", outcome)
            elif (opened := self._opens.begin(node, outcome, flags)) is None:
                self._answer_later("open", unique, self._opens.settle, outcome)
            else:
                self._channel.reply(unique, opened)

        def done(outcome: int | Exception | None) -> None:
            self._openings.remove(unique)
            try:
                answer(outcome)
            except Exception as error:  # noqa: BLE001 - becomes an errno
                self._fail(unique, "open", error)

        begun = self._fs.begin_open(node, done, caller=caller)
        if isinstance(begun, Opening):
            self._openings.add(unique, begun, in_a_task)
        else:
            answer(begun)

    async def _opened(self, node: int, caller: int, flags: int) -> bytes:
        number = await self._fs.open(node, caller=caller)
        return self._opens.begin(node, number, flags) or await self._opens.settle(number)

    def _read(self, unique: int, _node: int, _caller: int, request: bytes) -> None:
        number, offset, size = protocol.READ_IN.unpack_from(request, protocol.BODY)
        data = self._fs.read_nowait(number, offset, size)
        if data is None:
            self._answer_later("read", unique, self._fs.read_late, number, offset, size)
        else:
            self._channel.reply(unique, data)

    def _release(self, unique: int, _node: int, _caller: int, request: bytes) -> None:
        (number,) = protocol.RELEASE_IN.unpack_from(request, protocol.BODY)
        self._opens.end(number)
        self._fs.release(number)
        self._channel.reply(unique)

    # ---- directories

    def _opendir(self, unique: int, node: int, _caller: int, _request: bytes) -> None:
        self._channel.reply(unique, protocol.OPEN_OUT.pack(self._fs.opendir(node), 0))

    def _readdirplus(self, unique: int, _node: int, _caller: int, request: bytes) -> None:
        number, offset, size = protocol.READ_IN.unpack_from(request, protocol.BODY)
        self._answer_later("readdir", unique, self._entries, number, offset, size)

    async def _entries(self, number: int, offset: int, size: int) -> bytearray:
        listed = bytearray()
        entries = islice(await self._fs.entries(number, offset), MOST_LISTED)
        for name, attributes, valid_s, next_offset, node in entries:
            entry = self._attributes.listed(name, attributes, valid_s, next_offset)
            taken = len(listed) + len(entry) <= size
            if taken:
                listed += entry
            self._fs.offered(node, taken=taken)
            if not taken:
                break
        return listed


def _name(handler: Handler) -> str:
    """Return what a log line calls the request."""
    return handler.__name__.removeprefix("_").removeprefix("batch_")


def _rank(head: tuple[Any, ...]) -> int:
    """Return the place of a request, given its header, among those that were received with it: lower ones first."""
    return PLACES.get(head[1], len(FIRST))
