"""Questions about single names: who asks them, and on which connections."""

import sys
from contextlib import suppress

import pytest
import trio
import trio.testing

from mountd.errors import CorruptError, UnavailableError
from mountd.stores import azure_direct
from tests.support.azure_answers import HEADERS, PAGE, error, part
from tests.support.raw_http import Scripted, answer

ENTRY = b"<Blobs><Blob><Name>d/a</Name></Blob></Blobs>"


def in_chunks(page):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Scripted(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(page), page))


async def test_questions_and_reads_share_a_connection(opened, raw_server):
    store = opened(in_chunks(PAGE), answer(200, length=100, **HEADERS), part(bytes(10)))
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


def listed(name, marker=b""):
    fields = (
        b"<Last-Modified>Wed, 12 Nov 2025 10:00:00 GMT</Last-Modified><Etag>1</Etag><Content-Length>5</Content-Length>"
    )
    entry = b"<Blob><Name>%s</Name><Properties>%s</Properties></Blob>" % (name, fields)
    page = PAGE.replace(b"<Blobs/>", b"<Blobs>%s</Blobs>" % entry)
    return page.replace(b"<NextMarker/>", b"<NextMarker>%s</NextMarker>" % marker)


async def test_listings_come_on_the_connection_of_everything_else(opened, raw_server):
    store = opened(in_chunks(listed(b"d/a", b"more")), answer(200, listed(b"d/b/c")), part(bytes(10)))
    first = await store.list_page("d", limit=7)
    assert ([info.key for info in first.objects], first.next) == (["d/a"], "more")
    assert [info.key for info in (await store.walk_page("d", "more")).objects] == ["d/b/c"]
    assert (await store.read("a", 0, 10, if_match=None)).size == 100
    asked = [head.split(b"\r\n")[0] for head in raw_server.requests]
    assert b"delimiter=%2F" in asked[0]
    assert b"maxresults=7&" in asked[0]
    assert b"marker=more" in asked[1]
    assert b"delimiter" not in asked[1]
    assert len(raw_server._connections) == 1


async def test_what_follows_a_page_is_told_before_it_is_taken_apart(opened, raw_server):
    store, told = opened(answer(200, listed(b"d/a", b"more")), answer(200, listed(b"d/b/c"))), []
    for marker, deep in ((None, False), ("more", True)):
        await store.page_ahead("d", marker, deep=deep, following=lambda it: told.append((it, len(raw_server.requests))))
    assert told == [("more", 1)]
    asked = [head.split(b"\r\n")[0] for head in raw_server.requests]
    assert [(b"delimiter" in line, b"marker=more" in line) for line in asked] == [(True, False), (False, True)]
    with pytest.raises(CorruptError):
        await opened(answer(200, listed(b"", b"more"))).page_ahead("", None, deep=False, following=told.append)
    assert told[1:] == ["more"], "said before it was known to be nonsense"


async def test_a_listing_that_is_longer_than_expected_is_asked_for_in_the_ordinary_way(opened, raw_server, monkeypatch):
    monkeypatch.setattr(azure_direct, "PAGE", 100)
    page = await opened(answer(200, listed(b"d/a" * 2000))).list_page("")
    assert len(page.objects) == 1
    assert len(raw_server.requests) == 2


async def test_of_many_listings_at_once_a_few_are_the_loops_own(opened, monkeypatch):
    store = opened(*[answer(200, listed(b"a"))] * 40)
    here, ordinary = [], []
    fetch, send = store._direct._page, store._page

    async def seen(*args):
        here.append(store._direct._pages)
        return await fetch(*args)

    monkeypatch.setattr(store._direct, "_page", seen)
    monkeypatch.setattr(store, "_page", lambda *args: ordinary.append(args) or send(*args))
    async with trio.open_nursery() as nursery:
        for _ in range(azure_direct.MOST_PAGES + 3):
            nursery.start_soon(store.list_page, "")
    assert (sorted(here), len(ordinary)) == (list(range(1, azure_direct.MOST_PAGES + 1)), 3)
    assert store._direct._pages == 0


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


async def test_nothing_of_the_sdk_is_needed_for_listing_and_reading(raw_server):
    """It takes long to import, and memory."""
    raw_server.script = [answer(200, listed(b"a")), part(bytes(10))]
    spec = (
        f"BlobSpec(account_name='acct', container='box', account_url='{raw_server.url}/acct', credential=Anonymous())"
    )
    check = (
        "import sys, trio\n"
        "from mountd.catalog.model import Anonymous, BlobSpec\n"
        "from mountd.stores.azure_blob import AzureBlobStore\n"
        "async def main():\n"
        f"    store = AzureBlobStore({spec})\n"
        "    page = await store.list_page('')\n"
        "    chunk = await store.read(page.objects[0].key, 0, 10, if_match=None)\n"
        "    print(chunk.data.nbytes, sorted(name for name in sys.modules if name.startswith('azure.')))\n"
        "trio.run(main)\n"
    )
    done = await trio.run_process([sys.executable, "-c", check], capture_stdout=True)
    assert done.stdout.decode() == "10 []\n"
