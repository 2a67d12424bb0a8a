"""Slow servers that are real ones: a request goes on as long as bytes come, on every way by which they come."""

import time

import pytest

from mountd.aio.retry import RetryPolicy
from mountd.catalog.model import Anonymous, BlobSpec
from mountd.catalog.web_url import parse_web_url, web_spec
from mountd.errors import DeadlineError
from mountd.stores.azure_blob import AzureBlobStore
from mountd.stores.azure_place import Timeouts
from mountd.stores.guarded import GuardedStore
from mountd.stores.loop_http import LARGEST
from mountd.stores.open import open_store
from mountd.transfer.download import download_tree
from mountd.transfer.progress import Progress
from tests.support.raw_http import Scripted, answer
from tests.support.web_origin import Habits

CONTENT = bytes(range(256)) * 1200
HABITS = {"parts": Habits(), "whole": Habits(parts=False), "chunks": Habits(parts=False, length=False)}


@pytest.mark.parametrize("habits", list(HABITS))
async def test_a_download_takes_as_long_as_bytes_come(web_origin, tmp_path, habits):
    web_origin.habits = Habits(**vars(HABITS[habits]))
    web_origin.content = CONTENT
    web_origin.habits.bytes_s = 160_000
    store = open_store(web_spec([("f", parse_web_url(web_origin.url))]), policy=RetryPolicy(deadline_s=1.0))
    began = time.monotonic()
    report = await download_tree(store, "", tmp_path / "to", overwrite=False, progress=Progress())
    assert time.monotonic() - began > 1.5
    report.check_complete("download")
    assert (tmp_path / "to" / "f").read_bytes() == CONTENT
    assert store.retries == 0
    await store.aclose()


def blob_store(raw_server, deadline_s):
    spec = BlobSpec(account_name="acct", container="c", account_url=raw_server.url, credential=Anonymous())
    timeouts = Timeouts(stall_s=deadline_s, total_s=deadline_s)
    return GuardedStore(AzureBlobStore(spec, timeouts=timeouts), RetryPolicy(deadline_s=deadline_s))


def part(body, **how):
    said = f"bytes 0-{len(body) - 1}/{len(body)}"
    date = "Wed, 12 Nov 2025 10:00:00 GMT"
    return answer(206, body, Content_Range=said, ETag='"1"', Last_Modified=date, **how)


@pytest.mark.parametrize("key", ["plain", "odd//name"])  # by the loop, by the SDK
async def test_a_part_of_a_blob_takes_as_long_as_bytes_come(raw_server, key):
    raw_server.script = [part(CONTENT, pause_s=0.02, piece=3000)]
    store = blob_store(raw_server, 1.0)
    began = time.monotonic()
    assert (await store.read(key, 0, len(CONTENT), if_match=None)).data == CONTENT
    assert time.monotonic() - began > 1.5
    assert store.retries == 0
    await store.aclose()


@pytest.mark.parametrize("key", ["plain", "odd//name"])
async def test_a_blob_that_drips_is_given_up(raw_server, key):
    raw_server.script = [part(CONTENT, pause_s=0.02, piece=50)]
    store = blob_store(raw_server, 0.5)
    began = time.monotonic()
    with pytest.raises(DeadlineError, match="gave up after"):
        await store.read(key, 0, len(CONTENT), if_match=None)
    assert time.monotonic() - began < 3
    await store.aclose()


async def test_a_large_part_that_takes_long_is_read_where_progress_is_seen(raw_server):
    body = bytes(LARGEST + 1)
    head = part(body).data[:300]
    raw_server.script = [Scripted(head, "hang"), part(body), part(body)]
    store = blob_store(raw_server, 3.0)
    for _ in range(2):
        assert (await store.read("plain", 0, len(body), if_match=None)).data.nbytes == len(body)
    asked = [b"azsdk" in request for request in raw_server.requests]
    assert asked == [False, True, True]
    await store.aclose()
