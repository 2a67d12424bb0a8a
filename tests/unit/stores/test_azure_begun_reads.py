"""Reads of a Blob store that are begun, against a server that fails on purpose: who hears of what."""

import pytest
import trio
import trio.testing

from mountd.errors import UnavailableError
from mountd.units import ETag
from tests.support.azure_answers import HEADERS, error, part
from tests.support.raw_http import answer


async def begun(store, raw_server, *script):
    """Return what a read brings that is begun on a connection at hand, with `script` for its answer."""
    came, here = [], trio.Event()

    def done(chunk):
        came.append(chunk)
        here.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.serve, lambda: None)
        await trio.testing.wait_all_tasks_blocked()
        raw_server.script = [part(b"0123456789")]
        await store.read("plain", 0, 10, if_match=ETag('"0x1"'))
        raw_server.script = list(script)
        assert store.begin_read("plain", 0, 10, if_match=ETag('"0x1"'), done=done)
        with trio.fail_after(20):
            await here.wait()
        again = store.begin_read("plain", 0, 10, if_match=ETag('"0x1"'), done=lambda _: None)
        nursery.cancel_scope.cancel()
    assert len(came) == 1
    return came[0], again


async def test_a_begun_read_that_is_throttled_says_how_long_to_wait_and_is_the_last_for_a_while(opened, raw_server):
    missed, again = await begun(opened(), raw_server, error(503, "ServerBusy", Retry_After="7"))
    assert isinstance(missed.failure, UnavailableError)
    assert (missed.failure.retry_after_s, again) == (7.0, False)


@pytest.mark.parametrize(
    "script",
    [
        error(412, "ConditionNotMet"),
        error(404, "BlobNotFound"),
        error(416, "InvalidRange"),
        answer(206, b"0123456789", **HEADERS),
        part(b"0123456789", first=1),
        part(b"01234"),
        answer(200, b"0123456789", **HEADERS),
    ],
)
async def test_what_a_begun_read_is_answered_otherwise_is_for_the_ordinary_way_at_once(opened, raw_server, script):
    missed, again = await begun(opened(), raw_server, script)
    assert (missed.failure, again) == (None, True)
