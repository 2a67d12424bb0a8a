"""Which version an answer holds: strong ETags, dates that have settled, and nothing that could be two versions."""

from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.stores.web_version import Head, by_content, conditions, content_range, is_by_content
from mountd.units import ETag

MODIFIED = "Wed, 12 Nov 2025 10:00:00 GMT"
MODIFIED_S = 1762941600


def head(name="f.csv", **headers):
    message = Message()
    for field, value in headers.items():
        message[field.replace("_", "-")] = value
    return Head.of(message, name)


def at(seconds):
    return f"Wed, 12 Nov 2025 10:{seconds // 60:02d}:{seconds % 60:02d} GMT"


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"ETag": '"abc"'}, '"abc"'),
        ({"ETag": '"abc"', "Last_Modified": MODIFIED, "Date": at(2)}, '"abc"'),
        ({"ETag": '"abc"', "Last_Modified": MODIFIED}, '"abc"'),
        ({"ETag": '"abc"', "Date": at(0)}, '"abc"'),
        ({"Last_Modified": MODIFIED, "Date": at(2)}, f'"last-modified-{MODIFIED_S}-7"'),
        ({"ETag": 'W/"abc"', "Last_Modified": MODIFIED, "Date": at(60)}, "weak"),
        # within the second in which it was modified there may be many versions
        ({"ETag": '"abc"', "Last_Modified": MODIFIED, "Date": at(0)}, None),
        ({"ETag": '"abc"', "Last_Modified": MODIFIED, "Date": at(1)}, None),
        ({"Last_Modified": MODIFIED, "Date": at(1)}, None),
        ({"Last_Modified": at(30), "Date": at(0)}, None),
        ({"Last_Modified": MODIFIED}, None),
        ({"Last_Modified": "yesterday", "Date": at(9)}, None),
        ({"ETag": 'W/"abc"', "Last_Modified": MODIFIED, "Date": at(59)}, None),
        ({"ETag": 'W/"abc"'}, None),
        ({"ETag": "abc"}, None),
        ({"ETag": '""'}, None),
        ({"Date": at(0)}, None),
        ({}, None),
    ],
)
def test_what_tells_a_version(headers, version):
    found = head(**headers).version(7)
    if version == "weak":
        assert found.startswith('"weak-')
        assert found.endswith(f'-last-modified-{MODIFIED_S}-7"')
    else:
        assert found == version
    if found is not None:
        assert head(**headers).fits(found, 7)
        assert not head(**headers | {"ETag": '"other"'}).fits(found, 7)


def test_a_date_alone_tells_nothing_without_the_size():
    assert head(Last_Modified=MODIFIED, Date=at(9)).version(None) is None
    assert head(ETag='"a"').version(None) == '"a"'


def test_every_part_of_a_dated_version_counts():
    seen = {
        head(Last_Modified=date, Date=at(600), **etag).version(size)
        for date in (MODIFIED, at(1))
        for etag in ({}, {"ETag": 'W/"a"'}, {"ETag": 'W/"b"'})
        for size in (7, 8)
    }
    assert len(seen) == 12
    assert None not in seen


def test_conditions_ask_for_the_very_version():
    assert conditions(ETag('"abc"')) == {"If-Match": '"abc"'}
    dated = head(Last_Modified=MODIFIED, Date=at(9)).version(7)
    assert conditions(dated) == {"If-Unmodified-Since": MODIFIED}
    weak = head(ETag='W/"a"', Last_Modified=MODIFIED, Date=at(90)).version(7)
    assert conditions(weak) == {"If-Unmodified-Since": MODIFIED}


def test_checksums_are_versions_of_their_own():
    etag = by_content("0" * 64)
    assert is_by_content(etag)
    assert not is_by_content(ETag('"sha256-0"'))
    assert not head(ETag='"abc"').fits(etag, 7)


@pytest.mark.parametrize(
    ("one", "other", "unchanged"),
    [
        ({"ETag": 'W/"a"'}, {"ETag": 'W/"a"', "Date": at(5)}, True),
        ({"ETag": 'W/"a"'}, {"ETag": 'W/"b"'}, False),
        ({"ETag": 'W/"a"', "Last_Modified": MODIFIED, "Date": at(9)}, {"ETag": 'W/"a"'}, False),
        ({"Last_Modified": MODIFIED, "Date": at(9)}, {"Last_Modified": MODIFIED, "Date": at(10)}, True),
        ({"Last_Modified": MODIFIED, "Date": at(0)}, {"Last_Modified": MODIFIED, "Date": at(10)}, False),
        ({"Date": at(9)}, {"Date": at(9)}, False),
        ({}, {}, False),
    ],
)
def test_a_server_tells_that_nothing_changed(one, other, unchanged):
    assert head(**one).is_unchanged(head(**other)) is unchanged


@pytest.mark.parametrize(
    ("name", "encoding", "to_undo"),
    [
        ("a.csv", "gzip", "gzip"),
        ("a.csv.gz", "gzip", ""),
        ("A.TGZ", "x-gzip", ""),
        ("a.gz", "br", "br"),
        ("a.csv", "identity", ""),
        ("a.csv", "", ""),
        ("a.csv", "gzip, br", "gzip, br"),
    ],
)
def test_an_encoding_that_the_name_says_is_the_files_own(name, encoding, to_undo):
    assert head(name, Content_Encoding=encoding).encoding == to_undo


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes 0-0/7", (0, 1, 7)),
        ("bytes 3-6/7", (3, 7, 7)),
        ("bytes 3-7/7", None),
        ("bytes 6-3/7", None),
        ("bytes 0-0/*", None),
        ("bytes */7", None),
        ("pages 0-0/7", None),
        ("", None),
    ],
)
def test_content_range(text, found):
    message = Message()
    message["Content-Range"] = text
    assert content_range(message) == found


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_any_headers_are_read(etag, date, encoding):
    message = Message()
    for field, value in {"ETag": etag, "Last-Modified": date, "Date": date, "Content-Encoding": encoding}.items():
        message[field] = value
    found = Head.of(message, "f")
    assert found.version(1) is None or found.fits(found.version(1), 1)
