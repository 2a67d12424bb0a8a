"""The head of an answer: its fields are found as if all of it had been taken apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.stores.http_answer import HEAD_ROOM, BrokenOffError, DeclinedError, Fields, Framing, head_of

NAMES = st.sampled_from([b"ETag", b"etag", b"X-ETag", b"ETag-X", b"Content-Range", b"Content-range", b"A", b""])
VALUES = st.text("a:Z \t-", max_size=8).map(str.encode) | st.sampled_from([b"etag: x", b"ETag:x", b"0"])


@given(st.lists(st.tuples(NAMES, st.sampled_from([b": ", b":", b":\t", b""]), VALUES), max_size=6))
def test_fields_are_those_of_the_lines(lines):
    fields = Fields(b"\r\n".join([b"HTTP/1.1 206 etag: no", *(b"".join(line) for line in lines)]))
    expected = {}
    for name, colon, value in lines:
        said, separator, rest = (name + colon + value).partition(b":")
        if separator:
            expected[said.lower()] = rest.strip()
    for name in (b"etag", b"content-range", b"x-etag", b"a"):
        assert fields.get(name, b"none") == expected.get(name, b"none")
    assert {name: value for name, value in fields.items() if name in expected} == expected


def test_the_last_of_a_repeated_field_counts():
    assert Fields(b"HTTP/1.1 200 OK\r\nETag: 1\r\netag:  2 \r\nDate: x").get(b"etag") == b"2"


def head(*lines, status=b"HTTP/1.1 206 Partial Content"):
    return memoryview(b"\r\n".join([status, *lines, b"", b"body"]))


def test_a_head_says_where_its_body_ends():
    found = head_of(head(b"Content-Length: 4", b"ETag: 1"))
    assert found is not None
    assert (found.status, found.whole - found.length, found.keeps_connection) == (206, 4, True)
    closing = head_of(head(b"Content-Length: 4", b"Connection: Close"))
    assert closing is not None
    assert not closing.keeps_connection


def test_a_head_that_is_not_whole_is_waited_for():
    assert head_of(memoryview(b"HTTP/1.1 206 OK\r\nContent-Length: 4\r\n")) is None
    with pytest.raises(DeclinedError):
        head_of(memoryview(b"HTTP/1.1 206 OK\r\n" + b"a" * HEAD_ROOM))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"Content-Length:"],
        [b"Content-Length: -4"],
        [b"Content-Length: 4, 4"],
        [b"Content-Length: 4", b"Content-Length: 4"],
        [b"Content-Length: 4", b"content-length"],
        [b"Content-Length : 4"],
        [b"Transfer-Encoding", b"Content-Length: 4"],
        [b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding:", b"Content-Length: 4"],
        [b"Transfer-Encoding: gzip", b"Content-Length: 4"],
    ],
)
def test_another_framing_is_for_others(lines):
    with pytest.raises(DeclinedError):
        head_of(head(*lines))


def test_chunks_are_known_to_who_says_so():
    chunked = head_of(head(b"Transfer-Encoding: Chunked"), Framing.ANY)
    assert chunked is not None
    assert chunked.has_chunks
    for lines in (
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 4"],  # which of the two is right, nobody knows
    ):
        with pytest.raises(DeclinedError):
            head_of(head(*lines), Framing.ANY)


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (b"HTTP/1.0 200 OK", DeclinedError),
        (b"HTTP/1.1 100 Continue", DeclinedError),
        (b"HTTP/2 200 OK", BrokenOffError),
        (b"HTTP/1.1 2x0 OK", BrokenOffError),
        (b"", BrokenOffError),
    ],
)
def test_what_is_no_answer_is_none(status, refusal):
    with pytest.raises(refusal):
        head_of(head(b"Content-Length: 4", status=status))
