"""A Blob store against a server that fails on purpose: what each failure becomes, and what must never get out."""

import time
import traceback

import pytest
import trio
import trio.testing

from mountd.catalog.model import AccountKey, Anonymous, BlobSpec
from mountd.errors import (
    BusyError,
    ChangedError,
    CorruptError,
    DeniedError,
    ExistsError,
    IsDirectoryError,
    MountdError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from mountd.stores.azure_blob import AzureBlobStore
from mountd.stores.loop_http import LARGEST
from mountd.units import ETag
from tests.support.azure_answers import DATE, HEADERS, PAGE, PATIENT, QUICK, SAS, SIGNATURE, error, part
from tests.support.raw_http import RawServer, Scripted, answer

CALLS = {
    "read": lambda store: store.read("plain", 0, 10, if_match=None),
    "read-if-match": lambda store: store.read("plain", 0, 10, if_match=ETag('"0x1"')),
    "read-threaded": lambda store: store.read("plain", 0, LARGEST + 1, if_match=None),
    "read-odd-name": lambda store: store.read("odd//name", 0, 10, if_match=None),
    "stat": lambda store: store.stat("plain"),
    "stat-odd-name": lambda store: store.stat("odd//name"),
    "list": lambda store: store.list_page("d"),
    "walk": lambda store: store.walk_page("d"),
    "is_directory": lambda store: store.is_directory("d"),
    "put": lambda store: store.put("plain", memoryview(b"x")),
}
READS = ["read", "read-if-match", "read-odd-name"]
each_call = pytest.mark.parametrize("call", list(CALLS))
each_read = pytest.mark.parametrize("call", READS)


async def failure(call, store):
    """Return what `call` raises, once it is clear that it holds no secret, in no place a log could look."""
    with pytest.raises(MountdError) as caught:
        await CALLS[call](store)
    raised = caught.value
    seen = [str(raised), repr(raised), repr(vars(raised)), *traceback.format_exception(raised)]
    link = raised
    while link is not None:
        seen.append(f"{link!r} {link.args!r}")
        assert link.__context__ is None or isinstance(link.__context__, MountdError)
        link = link.__cause__ or link.__context__
    for text in seen:
        assert SIGNATURE not in text
        assert "sig=" not in text
    assert "\n" not in raised.message
    assert "acct/box/" in raised.message
    return raised


@each_call
@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (401, None, DeniedError, "check the key or SAS"),
        (403, "AuthenticationFailed", DeniedError, "check the key or SAS"),
        (403, "AuthorizationPermissionMismatch", DeniedError, "account 'acct' refuses the SAS for container 'box'"),
        (404, "BlobNotFound", NotFoundError, "no such blob"),
        (404, "ContainerNotFound", NotFoundError, "container 'box' does not exist in account 'acct'"),
        (409, "BlobArchived", DeniedError, "archive tier"),
        (409, "BlobBeingRehydrated", DeniedError, "out of the archive tier"),
        (409, "PublicAccessNotPermitted", DeniedError, "refuses"),
        (409, "ContainerBeingDeleted", UnavailableError, "failed"),
        (409, "BlobAlreadyExists", ExistsError, "exists already"),
        (403, "UnauthorizedBlobOverwrite", ExistsError, "exists already"),
        (409, "InvalidBlobType", UsageError, "InvalidBlobType"),
        (412, "ConditionNotMet", ChangedError, "replaced"),
        (412, "LeaseIdMissing", BusyError, "lease"),
        (400, "Md5Mismatch", CorruptError, "other bytes"),
        (400, "OutOfRangeInput", NotFoundError, "no such blob"),
        (400, "InvalidHeaderValue", UsageError, "400"),
        (418, None, UsageError, "418"),
        (429, None, UnavailableError, "slow down"),
        (500, "InternalError", UnavailableError, "failed (500"),
        (500, "OperationTimedOut", UnavailableError, "failed (500"),
        (502, None, UnavailableError, "failed (502)"),
        (503, "ServerBusy", UnavailableError, "slow down"),
    ],
)
async def test_answers_become_errors(opened, raw_server, call, status, code, kind, says):
    store = opened(error(status, code))
    raised = await failure(call, store)
    assert type(raised) is kind
    assert says in raised.message
    if kind is not ChangedError:  # that one asks whether the blob is gone
        assert len(raw_server.requests) == 1


@each_call
@pytest.mark.parametrize(
    "script",
    [
        Scripted(then="reset"),
        Scripted(then="close"),
        Scripted(b"HTTP/1.1 200 OK\r\nContent-Le", then="close"),
        Scripted(b"not HTTP at all\r\n\r\n", then="close"),
        Scripted(then="hang"),
    ],
    ids=["reset", "closed", "half a header", "not http", "silence"],
)
async def test_broken_connections_are_worth_another_try_and_are_not_tried_here(opened, raw_server, call, script):
    started = time.monotonic()
    raised = await failure(call, opened(script, timeouts=QUICK if script.then == "hang" else PATIENT))
    assert raised.retryable
    assert time.monotonic() - started < 5
    assert len(raw_server.requests) == 1


BODIES = [call for call in CALLS if not call.startswith("stat")]


@pytest.mark.parametrize("call", BODIES)
@pytest.mark.parametrize("status", [200, 206, 503])
async def test_silence_in_the_body(opened, raw_server, call, status):
    raised = await failure(
        call, opened(answer(status, b"<Enum", length=10_000, then="hang", **HEADERS), timeouts=QUICK)
    )
    assert raised.retryable
    assert len(raw_server.requests) == 1


@pytest.mark.parametrize("call", BODIES)
async def test_a_slow_body_is_given_up_after_the_total_time(opened, call):
    """Every piece that comes starts the wait for the next one anew; the total is what ends it."""
    size = 4 << 20
    slow = answer(206, bytes(size), pause_s=0.1, piece=5_000, Content_Range=f"bytes 0-{size - 1}/{size}", **HEADERS)
    started = time.monotonic()
    raised = await failure(call, opened(slow, timeouts=QUICK))
    assert isinstance(raised, UnavailableError | CorruptError)
    assert time.monotonic() - started < 5


async def test_a_slow_read_is_given_up_after_the_total_time(opened):
    size = 4 << 20
    store = opened(
        answer(206, bytes(size), pause_s=0.1, piece=5_000, Content_Range=f"bytes 0-{size - 1}/{size}", **HEADERS),
        timeouts=QUICK,
    )
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="does not answer in time"):
        await store.read("plain", 0, size, if_match=None)
    assert 0.3 < time.monotonic() - started < 5


@each_call
async def test_the_loop_runs_on_while_a_call_waits(opened, call):
    """A call that held the interpreter's lock while it waits would stop the whole daemon."""
    silence = answer(206 if "read" in call else 200, b"<Enum", length=10, then="hang", **HEADERS)
    silence = silence if "stat" not in call else Scripted(then="hang")
    if "read" in call:
        silence = Scripted(silence.data.replace(b"ETag", b"Content-Range: bytes 0-9/10\r\nETag"), "hang")
    beats = 0

    async def beat():
        nonlocal beats
        while True:
            await trio.sleep(0.01)
            beats += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat)
        await failure(call, opened(silence, timeouts=QUICK))
        nursery.cancel_scope.cancel()
    assert beats > 5


@each_call
async def test_nobody_there(opened, raw_server, call):
    store = opened(url="http://127.0.0.1:1/acct")
    raised = await failure(call, store)
    assert isinstance(raised, UnavailableError)
    assert "cannot reach 127.0.0.1:1: it refuses connections" in raised.message


@pytest.mark.parametrize("call", [call for call in CALLS if call != "read-threaded"])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry_After": "7"}, 7.0), ({"x_ms_retry_after_ms": "1500"}, 1.5), ({"Retry_After": "soon"}, None), ({}, None)],
)
async def test_the_wait_that_the_service_asks_for_is_known(opened, call, headers, seconds):
    raised = await failure(call, opened(error(503, "ServerBusy", **headers)))
    assert raised.retry_after_s == seconds


async def test_after_a_throttled_read_in_a_thread_the_next_one_hears_how_long_to_wait(opened, raw_server):
    store = opened(error(503, "ServerBusy", Retry_After="7"))
    assert (await failure("read-threaded", store)).retry_after_s is None  # obstore does not show the header
    assert (await failure("read-threaded", store)).retry_after_s == 7
    raw_server.script = [part(bytes(100))]
    assert (await CALLS["read-threaded"](store)).etag == '"0x1"'


@each_read
async def test_a_body_that_breaks_off_is_corrupt(opened, call):
    raised = await failure(call, opened(part(b"short", length=10, then="close")))
    assert isinstance(raised, CorruptError)


@each_read
async def test_a_body_shorter_than_its_own_range_is_corrupt(opened, call):
    raised = await failure(call, opened(answer(206, b"short", Content_Range="bytes 0-9/100", **HEADERS)))
    assert isinstance(raised, CorruptError)


@each_read
@pytest.mark.parametrize("first", [1, 5, 90])
async def test_another_range_than_asked_for_is_corrupt(opened, call, first):
    raised = await failure(call, opened(part(bytes(10), first=first)))
    assert isinstance(raised, CorruptError)


@each_read
@pytest.mark.parametrize("length", [5, 20])
async def test_a_range_of_another_length_than_asked_for_is_corrupt(opened, call, length):
    raised = await failure(call, opened(part(bytes(length))))
    assert isinstance(raised, CorruptError)


@each_read
async def test_the_whole_blob_instead_of_a_range_is_no_answer(opened, call):
    raised = await failure(call, opened(answer(200, bytes(10), **HEADERS)))
    assert isinstance(raised, CorruptError | UsageError)


@each_read
@pytest.mark.parametrize("etag", ['"0x1"', "0x1"])
async def test_etags_have_one_form(opened, call, etag):
    chunk = await CALLS[call](opened(part(bytes(10), ETag=etag)))
    assert chunk.etag == '"0x1"'
    assert chunk.size == 100


@pytest.mark.parametrize("call", [*READS, "stat", "stat-odd-name", "put"])
@pytest.mark.parametrize("headers", [{}, {"ETag": ""}, {"Last_Modified": DATE}, {"ETag": "", "Last_Modified": DATE}])
async def test_an_answer_that_names_no_version_is_none(opened, call, headers):
    status = 206 if "read" in call else 201 if call == "put" else 200
    raised = await failure(call, opened(answer(status, bytes(10), Content_Range="bytes 0-9/10", **headers)))
    assert raised.retryable


@pytest.mark.parametrize("length", ["-5", "1_0", "+7", "", "\xb2", "many"])
async def test_what_is_no_number_is_no_size(opened, length):
    assert (await failure("stat", opened(answer(200, length=length, **HEADERS)))).retryable


@each_read
async def test_an_end_before_the_range_is_an_empty_chunk_of_the_right_size(opened, raw_server, call):
    store = opened(error(416, "InvalidRange", Content_Range="bytes */0"), answer(200, **HEADERS))
    chunk = await CALLS[call](store)
    assert (bytes(chunk.data), chunk.size, chunk.etag) == (b"", 0, '"0x1"')
    assert len(raw_server.requests) == 2


@each_read
async def test_a_blob_that_grew_behind_a_416_is_read_again(opened, call):
    store = opened(error(416, "InvalidRange"), answer(200, length=100, **HEADERS), part(bytes(10)))
    # a HEAD's Content-Length counts the blob
    assert (await CALLS[call](store)).data == bytes(10)


async def test_a_412_for_a_blob_that_is_gone_says_so(opened):
    store = opened(error(412, "ConditionNotMet"), error(404))
    assert isinstance(await failure("read-if-match", store), NotFoundError)


@pytest.mark.parametrize("call", ["stat", "stat-odd-name"])
@pytest.mark.parametrize("header", ["x-ms-meta-hdi_isfolder: true", "x-ms-meta-Hdi_IsFolder: True"])
async def test_a_marker_is_seen_in_a_head(opened, call, header):
    head = answer(200, **HEADERS)
    store = opened(Scripted(head.data.replace(b"ETag", header.encode() + b"\r\nETag")))
    assert isinstance(await failure(call, store), IsDirectoryError)


@pytest.mark.parametrize("call", ["list", "walk", "is_directory"])
@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html>a login page</html>",
        b"<EnumerationResults/>",
        PAGE[:-5],
        b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>" + PAGE,
    ],
)
async def test_a_page_that_is_none_is_corrupt(opened, call, page):
    assert isinstance(await failure(call, opened(answer(200, page))), CorruptError)


async def test_no_request_follows_a_redirect_with_the_signature(opened, raw_server):
    other = RawServer([answer(200, PAGE)])
    try:
        for call in ("list", "walk", "is_directory", "put", "read-odd-name", "stat-odd-name"):
            store = opened(answer(307, Location=f"http://127.0.0.1:{other.port}/elsewhere"))
            with pytest.raises(MountdError):
                await CALLS[call](store)
        assert other.requests == []
    finally:
        other.stop()


async def test_names_that_would_escape_send_nothing(opened, raw_server):
    store = opened(answer(200, **HEADERS))
    for key in ("../other/x", "a/../../other/x", "..", "./x", "a/.", "\udc80", "x" * 1025, "a\0"):
        with pytest.raises(NotFoundError):
            await store.stat(key)
        with pytest.raises(NotFoundError):
            await store.read(key, 0, 1, if_match=None)
        with pytest.raises(UsageError):
            await store.put(key, memoryview(b""))
        assert not await store.is_directory(key)
    assert raw_server.requests == []


@each_call
async def test_every_request_says_version_and_carries_the_sas(opened, raw_server, call):
    store = opened(error(404))
    await failure(call, store)
    head = raw_server.requests[0].decode()
    assert SIGNATURE in head.split("\r\n")[0]
    assert "x-ms-version: 2023-11-03" in head.lower()


@pytest.mark.parametrize("call", ["read", "list"])
async def test_the_credential_of_the_description_counts_and_not_the_environment(opened, raw_server, call, monkeypatch):
    hostile = {
        "AZURE_STORAGE_SAS_TOKEN": "sig=from-the-environment",
        "AZURE_STORAGE_SAS_KEY": "sig=from-the-environment",
        "AZURE_STORAGE_ACCOUNT_NAME": "other",
        "AZURE_STORAGE_ACCOUNT_KEY": "b3RoZXI=",
        "AZURE_STORAGE_TOKEN": "bearer-from-the-environment",
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1",
        "AZURE_CONTAINER_NAME": "other",
        "AZURE_SKIP_SIGNATURE": "true",
        "AZURE_CREDENTIAL_TYPE": "bearer_token",
        "AZURE_USE_FABRIC_ENDPOINT": "true",
        "AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;AccountKey=b3RoZXI=",
    }
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    expected = {AccountKey("a2V5"): "SharedKey acct:", SAS: SIGNATURE, Anonymous(): ""}
    for credential, sign in expected.items():
        raw_server.requests.clear()
        store = opened(error(404), credential=credential)
        with pytest.raises(NotFoundError):
            await CALLS[call](store)
        [head] = raw_server.requests
        assert head.split(b" ")[1].startswith(b"/acct/box")
        assert sign in head.decode()
        assert b"from-the-environment" not in head
        if isinstance(credential, Anonymous):
            assert b"sig=" not in head
            assert b"authorization" not in head.lower()


async def test_anonymous_access_that_is_refused_asks_for_a_credential(opened):
    store = opened(error(403, "AuthorizationFailure"), credential=Anonymous())
    assert "give an account key or a SAS" in (await failure("list", store)).message
    store = opened(error(404, "ResourceNotFound"), credential=Anonymous())
    assert "not public" in (await failure("list", store)).message


def test_a_malformed_key_is_refused_at_once():
    spec = BlobSpec(account_name="a", container="c", account_url="https://h", credential=AccountKey("no base64!"))
    with pytest.raises(DeniedError, match="malformed") as caught:
        AzureBlobStore(spec)
    assert "no base64!" not in "".join(traceback.format_exception(caught.value))
