"""The origin answers as the Blob service does, to the clients that mountd uses, and fails exactly as asked."""

import http.client
import time
from collections.abc import Iterator

import obstore
import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import ContainerClient
from lxml import etree
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import AzureStore

from benchmarks.origin.process import Dataset, Fault, Origin, Settings, running_origin
from benchmarks.origin.settings import FaultPlan

BIG = 20 << 20  # longer than the tape, so that ranges cross its end
DEFAULTS = Settings()


@pytest.fixture(scope="module")
def process() -> Iterator[Origin]:
    with running_origin(
        Dataset(container="data", count=1, size=BIG, pattern="big.bin"),
        Dataset(container="churn", count=1, size=BIG, pattern="big.bin"),
        Dataset(container="data", count=250, size=5000, pattern="small/{group}/{index:04d}.bin", group_size=100),
    ) as origin:
        yield origin


@pytest.fixture
def origin(process: Origin) -> Iterator[Origin]:
    process.reset()
    yield process
    process.control(**{name: getattr(DEFAULTS, name) for name in DEFAULTS.__struct_fields__})


def request(
    origin: Origin, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=20)
    try:
        connection.request(method, f"/{origin.account}/{path}", body, headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def azure_client(origin: Origin, container: str = "data") -> ContainerClient:
    credential = {"account_name": origin.account, "account_key": origin.key}
    return ContainerClient(origin.url, container, credential=credential, retry_total=0)


def obstore_client(origin: Origin, container: str = "data") -> AzureStore:
    return AzureStore(
        container_name=container,
        account_name=origin.account,
        account_key=origin.key,
        endpoint=origin.url,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, BIG), (4096, 4097), (BIG - 10, BIG + 500), (16 << 20, 18 << 20), (100, 20_000)]
)
def test_every_range_has_the_bytes_of_its_object(origin: Origin, start: int, stop: int) -> None:
    status, headers, body = request(origin, "GET", "data/big.bin", {"x-ms-range": f"bytes={start}-{stop - 1}"})

    assert status == 206
    assert headers["content-range"] == f"bytes {start}-{min(stop, BIG) - 1}/{BIG}"
    assert body == origin.expected("data", "big.bin", start, min(stop, BIG) - start)


def test_ranges_outside_the_object_and_conditions_are_refused_as_by_the_service(origin: Origin) -> None:
    etag = request(origin, "HEAD", "data/big.bin")[1]["etag"]

    assert request(origin, "GET", "data/big.bin", {"Range": f"bytes={BIG}-"})[0] == 416
    assert request(origin, "GET", "data/big.bin", {"Range": "bytes=0-0", "If-Match": etag})[0] == 206
    assert request(origin, "GET", "data/big.bin", {"If-None-Match": etag})[0] == 304
    status, headers, body = request(origin, "GET", "data/big.bin", {"If-Match": '"0x1"'})
    assert (status, headers["x-ms-error-code"]) == (412, "ConditionNotMet")
    assert b"<Code>ConditionNotMet</Code>" in body
    assert request(origin, "GET", "data/none")[1]["x-ms-error-code"] == "BlobNotFound"
    assert request(origin, "GET", "none/none")[1]["x-ms-error-code"] == "ContainerNotFound"
    assert request(origin, "HEAD", "none?restype=container")[0] == 404
    assert request(origin, "HEAD", "data?restype=container")[0] == 200


def test_pages_of_a_flat_and_of_a_nested_listing_hold_every_name_once(origin: Origin) -> None:
    client = azure_client(origin)

    flat = [blob.name for page in client.list_blobs(results_per_page=7).by_page() for blob in page]
    top = [item.name for item in client.walk_blobs(results_per_page=2)]
    below = [item.name for item in client.walk_blobs("small/", results_per_page=2)]
    inner = [item.name for item in client.walk_blobs("small/2/", results_per_page=10)]

    assert flat == ["big.bin"] + [f"small/{index // 100}/{index:04d}.bin" for index in range(250)]
    assert sorted(top) == ["big.bin", "small/"]
    assert sorted(below) == ["small/0/", "small/1/", "small/2/"]
    assert inner == [f"small/2/{index:04d}.bin" for index in range(200, 250)]


def test_a_listing_tells_what_head_tells(origin: Origin) -> None:
    origin.create_container("odd")
    origin.put("odd", 'a&b <"é".txt', b"12345", {"hdi_isfolder": "true"})
    page = etree.fromstring(request(origin, "GET", "odd?restype=container&comp=list&include=metadata")[2])
    head = request(origin, "HEAD", "odd/a%26b%20%3C%22%C3%A9%22.txt")[1]

    assert page.findtext("Blobs/Blob/Name") == 'a&b <"é".txt'
    assert f'"{page.findtext("Blobs/Blob/Properties/Etag")}"' == head["etag"]
    assert page.findtext("Blobs/Blob/Properties/Last-Modified") == head["last-modified"]
    assert page.findtext("Blobs/Blob/Properties/Content-Length") == head["content-length"] == "5"
    assert page.findtext("Blobs/Blob/Metadata/hdi_isfolder") == head["x-ms-meta-hdi_isfolder"] == "true"


def test_the_official_client_writes_in_blocks_and_reads_back(origin: Origin) -> None:
    blob = azure_client(origin, "churn").get_blob_client("up/loaded.bin")
    data = bytes(range(256)) * 4096
    blob.upload_blob(data, overwrite=True)
    blob.stage_block("MDAw", b"one ")
    blob.stage_block("MDAx", b"two")

    assert blob.download_blob().readall() == data
    blob.commit_block_list(["MDAw", "MDAx"])
    assert blob.download_blob().readall() == b"one two"
    with pytest.raises(ResourceExistsError):
        blob.upload_blob(b"x")
    blob.delete_blob()
    assert not blob.exists()


def test_obstore_reads_the_version_it_asks_for_or_none(origin: Origin) -> None:
    store = obstore_client(origin, "churn")
    etag = obstore.head(store, "big.bin")["e_tag"]
    first = obstore.get(store, "big.bin", options={"range": (50, 90), "if_match": etag}).bytes()
    origin.replace("churn", "big.bin")

    assert first == origin.expected("churn", "big.bin", 50, 40)
    with pytest.raises(PreconditionError):
        obstore.get(store, "big.bin", options={"range": (50, 90), "if_match": etag})
    version = obstore.get(store, "big.bin", options={"range": (50, 90)}).bytes()
    assert version == origin.expected("churn", "big.bin", 50, 40, version=1)
    assert version != first


def test_latency_and_bandwidth_hold_answers_back(origin: Origin) -> None:
    origin.control(latency_ms=30)
    began = time.monotonic()
    request(origin, "GET", "data/small/0/0001.bin")
    with_latency = time.monotonic() - began
    origin.control(latency_ms=0, connection_bytes_s=20e6)
    began = time.monotonic()
    request(origin, "GET", "data/big.bin", {"Range": "bytes=0-3999999"})
    with_bandwidth = time.monotonic() - began

    assert with_latency >= 0.03
    assert with_bandwidth >= 0.19  # 4 MB at 20 MB/s, less the credit


def test_counters_and_the_record_tell_what_was_asked(origin: Origin) -> None:
    origin.control(record=True)
    request(origin, "GET", "data/big.bin", {"Range": "bytes=0-99999"})
    request(origin, "HEAD", "data/none")
    request(origin, "GET", "data?restype=container&comp=list&prefix=small/2/")
    counters = origin.counters()

    assert counters.requests == {"get": 1, "head": 1, "list": 1}
    assert counters.statuses == {"206": 1, "404": 1, "200": 1}
    assert counters.total == 3
    assert 100_000 < counters.bytes_sent < 150_000
    assert [(seen.operation, seen.key, seen.range, seen.status) for seen in origin.requests()] == [
        ("get", "big.bin", "bytes=0-99999", 206),
        ("head", "none", "", 404),
        ("list", "small/2/", "", 200),
    ]


def test_a_status_fault_strikes_every_nth_of_its_operation(origin: Origin) -> None:
    origin.control(faults=[Fault(kind="status", every=3, retry_after_s=7, operations=["get"], key_prefix="small/")])

    answers = [request(origin, "GET", "data/small/0/0001.bin") for _ in range(6)]
    request(origin, "HEAD", "data/small/0/0001.bin")

    assert [status for status, _, _ in answers] == [200, 200, 503, 200, 200, 503]
    assert answers[2][1]["retry-after"] == "7"
    assert answers[2][1]["x-ms-error-code"] == "ServerBusy"
    assert origin.counters().faults == {"status": 2}
    with pytest.raises(HttpResponseError):
        [azure_client(origin).download_blob("small/0/0001.bin") for _ in range(3)]


@pytest.mark.parametrize("kind", ["reset", "truncate"])
@pytest.mark.parametrize("key", ["data/big.bin", "data/small/0/0001.bin", "churn/put.bin"])
def test_a_broken_answer_ends_within_its_body(origin: Origin, kind: str, key: str) -> None:
    origin.put("churn", "put.bin", b"x" * 100_000)
    origin.control(faults=[Fault(kind=kind, every=1, limit=1, operations=["get"], at=0.25)])

    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as caught:
        request(origin, "GET", key)
    if kind == "truncate":
        assert caught.type is http.client.IncompleteRead
        full = int(request(origin, "HEAD", key)[1]["content-length"])
        assert len(caught.value.partial) == full // 4
    assert request(origin, "GET", key)[0] == 200


def test_a_stall_holds_the_answer_back_and_goes_on(origin: Origin) -> None:
    origin.control(faults=[Fault(kind="stall", every=1, limit=1, seconds=0.2)])
    began = time.monotonic()
    body = request(origin, "GET", "data/small/0/0002.bin")[2]

    assert time.monotonic() - began >= 0.2
    assert body == origin.expected("data", "small/0/0002.bin", 0, 5000)


def test_a_black_hole_never_answers_but_lets_go_of_clients_that_leave(origin: Origin) -> None:
    origin.control(faults=[Fault(kind="stall", every=1, limit=1, at=0)])
    connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=0.1)
    connection.request("GET", f"/{origin.account}/data/big.bin")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    assert origin.counters().in_flight == 1
    connection.close()

    assert request(origin, "GET", "data/small/0/0002.bin")[0] == 200
    assert origin.counters().in_flight == 0


def test_a_wrong_etag_is_seen_by_the_client(origin: Origin) -> None:
    right = request(origin, "HEAD", "data/small/0/0003.bin")[1]["etag"]
    origin.control(faults=[Fault(kind="etag", every=1, operations=["get"])])

    assert obstore.get(obstore_client(origin), "small/0/0003.bin").meta["e_tag"] != right


def test_a_refused_setting_changes_nothing(origin: Origin) -> None:
    with pytest.raises(RuntimeError, match="latency"):
        origin.control(latency="15 ms")

    assert origin.settings() == DEFAULTS


def test_faults_by_probability_follow_from_the_seed() -> None:
    settings = Settings(faults=[Fault(kind="reset", probability=0.3)], seed=5)
    struck = [[FaultPlan(settings).strike("get", "k") is not None for _ in range(1)] for _ in range(3)]
    long = FaultPlan(settings)
    share = sum(long.strike("get", "k") is not None for _ in range(2000)) / 2000

    assert struck[0] == struck[1] == struck[2]
    assert 0.25 < share < 0.35


def test_the_origin_ends_with_its_starter() -> None:
    with running_origin() as origin:
        assert request(origin, "GET", "nothing/here")[0] == 404
        port = origin.port

    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()


def test_obstore_reports_an_answer_that_breaks_off(origin: Origin) -> None:
    origin.control(faults=[Fault(kind="truncate", every=1, operations=["get"])])

    with pytest.raises((BaseError, OSError)):
        obstore.get(obstore_client(origin), "big.bin", options={"range": (0, 1 << 20)}).bytes()
