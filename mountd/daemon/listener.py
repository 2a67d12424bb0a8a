"""The supervisor's ear: one request per connection, from this user and root only.

A client that hangs up while its mount is being made has its mount taken back. No client can keep the supervisor busy:
each part of a connection has its deadline.
"""

from collections.abc import Awaitable, Callable

import trio

from mountd.daemon.connection import Connection
from mountd.errors import MountdError
from mountd.observe.logs import get_logger
from mountd.wire.messages import Failed, Mount, Reply, Request
from mountd.wire.sockets import peer_of, trusted

_REQUEST_WITHIN_S = 10.0
_REPLY_WITHIN_S = 10.0

_log = get_logger("mountd.daemon.listener")
Answer = Callable[[Request], Awaitable[Reply]]


async def accept_connections(listener: trio.SocketListener, answer: Answer, answering: trio.Nursery) -> None:
    """Answer what arrives at `listener` until cancelled, each connection in a task of `answering`."""

    async def serve(stream: trio.SocketStream) -> None:
        await serve_connection(stream, answer)

    await trio.serve_listeners(serve, [listener], handler_nursery=answering)


async def serve_connection(stream: trio.SocketStream, answer: Answer) -> None:
    """Answer the one request of a connection and close it; never raises but when cancelled."""
    async with stream:
        peer = peer_of(stream.socket)
        if not trusted(peer):
            _log.warning("refused a connection of another user", uid=peer.uid, pid=peer.pid)
            return
        connection: Connection[Request] = Connection(stream, Request)
        try:
            with trio.fail_after(_REQUEST_WITHIN_S):
                await connection.greet()
                request = await connection.receive()
            if request is None:
                return
            reply = await _answered(connection, request, answer)
            if reply is None:
                return
            with trio.fail_after(_REPLY_WITHIN_S):
                await connection.send(reply)
        except trio.TooSlowError:
            _log.warning("a client was too slow", pid=peer.pid)
        except trio.BrokenResourceError:
            _log.debug("a client hung up", pid=peer.pid)
        except MountdError as error:
            _log.warning("a client is not understood", pid=peer.pid, why=error.message)


async def _answered(connection: Connection[Request], request: Request, answer: Answer) -> Reply | None:
    """Return the reply, or None when the client hung up on a mount in the making."""
    reply: Reply | None = None
    async with trio.open_nursery() as nursery:
        if isinstance(request, Mount):

            async def watch() -> None:
                await connection.receive()  # clients send one request: this is the end of the stream
                _log.warning("the client hung up: its mount is taken back")
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
        try:
            reply = await answer(request)
        except MountdError as error:
            reply = Failed.from_error(error)
        except Exception:  # noqa: BLE001 - one bad request must not end the mounts
            _log.exception("a request failed unexpectedly", request=type(request).__name__)
            reply = Failed(error="MountdError", exit_code=1, message="an internal error of mountd; its log says more")
        nursery.cancel_scope.cancel()
    return reply
