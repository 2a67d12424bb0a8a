"""Questions about single names: who asks them, and on which connections."""

import subprocess
import sys
from contextlib import suppress
from queue import SimpleQueue

import trio
import trio.testing

from mountd.errors import UnavailableError
from mountd.stores.azure_rest import AzureRest
from tests.support.azure_answers import HEADERS, PAGE, error, part
from tests.support.raw_http import Scripted, answer

IN_CHUNKS = Scripted(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE))
ENTRY = b"<Blobs><Blob><Name>d/a</Name></Blob></Blobs>"


async def test_questions_and_reads_share_a_connection(opened, raw_server):
    store = opened(IN_CHUNKS, answer(200, length=100, **HEADERS), part(bytes(10)))
    assert not await store.is_directory("a")
    assert (await store.stat("a")).size == 100
    assert (await store.read("a", 0, 10, if_match=None)).size == 100
    assert [head.split()[0] for head in raw_server.requests] == [b"GET", b"HEAD", b"GET"]
    assert len(raw_server._connections) == 1


async def test_pages_without_entries_are_followed_to_the_last(opened, raw_server):
    first = PAGE.replace(b"<NextMarker/>", b"<NextMarker>a&amp;b</NextMarker>")
    store = opened(answer(200, first), answer(200, PAGE.replace(b"<Blobs/>", ENTRY)))
    assert await store.is_directory("d")
    assert b"&marker=a%26b" in raw_server.requests[1].split(b"\r\n")[0]


async def test_a_page_that_is_longer_than_expected_is_asked_for_in_the_ordinary_way(opened, raw_server):
    page = PAGE.replace(b"<Blobs/>", b"<Blobs>" + b" " * 40_000 + ENTRY[7:])
    assert await opened(answer(200, page)).is_directory("d")
    assert len(raw_server.requests) == 2


async def test_the_sdk_is_brought_once_a_directory_is_found(opened, monkeypatch):
    asked = SimpleQueue()
    monkeypatch.setattr(AzureRest, "prepare", staticmethod(lambda: asked.put("prepared")))
    store = opened(answer(200, PAGE), answer(200, PAGE.replace(b"<Blobs/>", ENTRY)))
    assert [await store.is_directory("d") for _ in range(3)] == [False, True, True]
    assert asked.get(timeout=20) == "prepared"
    assert asked.empty()


async def test_after_a_question_that_is_throttled_no_read_is_begun_for_a_while(opened, raw_server):
    store = opened(part(bytes(10)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.serve, lambda: None)
        await trio.testing.wait_all_tasks_blocked()
        for script, is_begun in ((answer(200, **HEADERS), True), (error(503, "ServerBusy"), False)):
            raw_server.script = [script]
            with suppress(UnavailableError):
                await store.stat("a")
            raw_server.script = [part(bytes(10))]
            here = trio.Event()
            begun = store.begin_read("a", 0, 10, if_match=None, done=lambda _, here=here: here.set())
            assert begun is is_begun
            if begun:
                await here.wait()
        nursery.cancel_scope.cancel()


def test_the_sdk_is_not_there_before_it_is_prepared():
    """It takes long to import, and most commands have no use for it."""
    check = "import sys; from mountd.stores.azure_rest import AzureRest; n = 'azure.storage.blob'; "
    check += "before = n in sys.modules; AzureRest.prepare(); print(before, n in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True"]
