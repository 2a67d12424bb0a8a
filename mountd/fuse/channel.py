"""The descriptor of a session: requests come out of it, replies go into it.

It does not block: a request whose sender was killed in the last moment holds nobody up. Large replies are written by
a thread: that is a copy of their bytes without the interpreter's lock, while the loop receives what comes next.
"""

import errno
import os
from contextlib import suppress

import trio

from mountd.aio.threads import Lane
from mountd.fuse import protocol
from mountd.observe.logs import get_logger
from mountd.units import KIB

log = get_logger("mountd.fuse")

IN_THREAD = 256 * KIB
"""Bytes from which on a reply is worth a thread."""
MOST_IN_THREAD = 8
"""Replies that are with the thread at most: their bytes are in nobody's budget any more, and a loop that outruns the
thread gains nothing by it. They are of a MiB or less."""
IN_ONE_PIECE = 1 * KIB
"""Bytes up to which joining head and body costs less than handing over two pieces."""
CLOSE_S = 5.0
"""How long closing waits for replies that threads write."""
GONE = frozenset({errno.ENODEV, errno.ECONNABORTED})
"""Nobody will send or take anything any more: it was unmounted, or the connection was aborted."""
TAKEN_BACK = frozenset({errno.EINTR, errno.ENOENT})
"""A request was there and is not any more."""


class Channel:
    """One session's.

    Args:
        descriptor: of `/dev/fuse`, or anything that hands over one request for each read; it stays the caller's. From
            now on it does not block.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        os.set_blocking(self._descriptor, False)
        self._room = bytearray(protocol.REQUEST_ROOM)
        self._rooms = [self._room]
        self.ended = False
        """No request will come any more."""
        self._lane = Lane("large replies", 1)

    def receive(self, most: int) -> list[bytes]:
        """Return the requests that are there, each from its header on; `most` of them at most."""
        requests: list[bytes] = []
        while len(requests) < most:
            try:
                length = os.readv(self._descriptor, self._rooms)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in TAKEN_BACK:
                    continue
                if error.errno not in GONE and not requests:
                    raise  # else these are handled first, and what lasts is raised then
                self.ended = error.errno in GONE
                break
            else:
                requests.append(bytes(self._room[:length]))
        return requests

    async def wait(self) -> None:
        """Wait until `receive` is worth another try."""
        await trio.lowlevel.wait_readable(self._descriptor)

    def reply(self, unique: int, body: bytes | bytearray | memoryview = b"") -> None:
        """Answer a request."""
        length = len(body)
        head = protocol.OUT_HEADER.pack(protocol.OUT_HEADER.size + length, 0, unique)
        if length <= IN_ONE_PIECE:
            self._write(head + body)
            return
        if length >= IN_THREAD and self._lane.unfinished < MOST_IN_THREAD:
            with suppress(RuntimeError):  # no thread to be had
                self._lane.post(self._write, head, body)
                return
        self._write(head, body)

    def fail(self, unique: int, number: int) -> None:
        """Answer a request with an errno."""
        self._write(protocol.OUT_HEADER.pack(protocol.OUT_HEADER.size, -number, unique))

    async def aclose(self) -> None:
        """Close it once the replies under way are written; leave it open if a thread does not come back from it."""
        with trio.move_on_after(CLOSE_S, shield=True) as waiting, suppress(RuntimeError):
            await self._lane.run(_nothing)  # after all others, one at a time
        if waiting.cancelled_caught:
            log.warning("a reply is still being written", after_s=CLOSE_S)
        else:
            os.close(self._descriptor)

    def _write(self, head: bytes, body: bytes | bytearray | memoryview | None = None) -> None:
        try:
            if body is None:
                os.write(self._descriptor, head)
            else:
                os.writev(self._descriptor, (head, body))
        except OSError as error:
            if error.errno in GONE or error.errno in TAKEN_BACK:
                return  # whoever asked is gone, and perhaps everybody
            length, _, unique = protocol.OUT_HEADER.unpack_from(head)
            log.exception("reply refused", bytes=length)
            with suppress(OSError):  # or the reader would wait for ever
                os.write(self._descriptor, protocol.OUT_HEADER.pack(protocol.OUT_HEADER.size, -errno.EIO, unique))


def _nothing() -> None:
    """Being run is the point: what was posted before has been written."""
