"""Nothing but `FUSEError` leaves a request handler."""

import errno

import pyfuse3
import pytest
import trio

from mountd.errors import DeadlineError, DeniedError, NotFoundError, StaleHandleError
from mountd.fuse import complaints, failures
from mountd.fuse.convert import AttributeMaker, Ownership
from mountd.fuse.failures import Failures
from mountd.fuse.operations import CHANGES, Operations, handler

MAKER = AttributeMaker(Ownership(uid=0, gid=0, file_mode=0o644, dir_mode=0o755))


class Handlers(Operations):
    def __init__(self, error):
        super().__init__(None, MAKER, Failures())
        self.error = error

    @handler
    async def statfs(self, ctx):
        raise self.error


@pytest.fixture
def lines(monkeypatch):
    """What was logged: level, event, and everything else."""
    found = []

    class Log:
        def __getattr__(self, level):
            return lambda event, **more: found.append((level, event, more))

    monkeypatch.setattr(failures, "log", Log())
    return found


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotFoundError("gone"), errno.ENOENT),
        (DeniedError("no"), errno.EACCES),
        (StaleHandleError("old"), errno.ESTALE),
        (DeadlineError("late"), errno.EIO),
        (pyfuse3.FUSEError(errno.EROFS), errno.EROFS),
    ],
)
async def test_errors_meant_for_the_caller(error, expected, lines):
    handlers = Handlers(error)
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await handlers.statfs(None)
    assert caught.value.errno == expected
    assert handlers.failures.unexpected == 0
    if expected in {errno.EIO, errno.EACCES}:
        assert lines == [("warning", "request failed", {"operation": "statfs", "why": str(error)})]
    else:
        assert lines == [], "an answer is no failure"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bug"),
        AssertionError("bug"),
        OSError(errno.ENOSPC, "leaked"),
        ExceptionGroup("two", [ValueError("one"), KeyError("other")]),
        trio.TooSlowError(),
        trio.ClosedResourceError("gone"),
        RecursionError(),
        MemoryError(),
    ],
)
async def test_everything_else_is_eio_counted_and_logged(error, lines):
    handlers = Handlers(error)
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await handlers.statfs(None)
    assert caught.value.errno == errno.EIO
    assert handlers.failures.unexpected == 1
    assert lines == [("error", "handler failed", {"operation": "statfs", "exc_info": error})]


async def test_a_storm_of_failures_is_not_a_storm_of_lines(lines, autojump_clock):
    handlers = Handlers(DeadlineError("the store does not answer"))
    for _ in range(1000):
        with pytest.raises(pyfuse3.FUSEError):
            await handlers.statfs(None)
    assert len(lines) == 1
    await trio.sleep(complaints.PERIOD_S)
    with pytest.raises(pyfuse3.FUSEError):
        await handlers.statfs(None)
    assert len(lines) == 2
    assert lines[1][2]["others"] == 999


async def test_cancellation_is_nobody_s_error():
    class Waiting(Operations):
        @handler
        async def statfs(self, ctx):
            await trio.sleep_forever()

    with trio.move_on_after(0) as scope:
        await Waiting(None, MAKER, Failures()).statfs(None)
    assert scope.cancelled_caught


@pytest.mark.parametrize("change", CHANGES)
async def test_every_change_is_refused(change):
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await getattr(Operations(None, MAKER, Failures()), change)(1, b"name", 0, None)
    assert caught.value.errno == errno.EROFS


def test_every_request_that_changes_something_is_known():
    reading = {
        *("lookup", "forget", "getattr", "open", "read", "flush", "fsync", "release", "statfs"),
        *("opendir", "readdir", "releasedir", "fsyncdir"),
        *("readlink", "getxattr", "listxattr", "access", "poll"),
        *("init", "stacktrace"),
    }
    offered = {
        name for name in vars(pyfuse3.Operations) if not name.startswith("_") and callable(getattr(Operations, name))
    }
    assert offered == reading | set(CHANGES)
