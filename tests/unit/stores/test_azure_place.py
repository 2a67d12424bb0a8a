"""Keys: which can be asked for, by which way, and how they look in a URL."""

from urllib.parse import quote, unquote, urlsplit

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.catalog.model import AccountKey, Anonymous, BlobSpec, Sas
from mountd.stores.azure_place import Place, Timeouts, can_exist, is_ordinary, is_plain, quoted
from mountd.stores.azure_reads import AzureReads
from tests.support.raw_http import answer

SPEC = BlobSpec(account_name="acct", container="$web", account_url="https://acct.blob.core.windows.net/")
KEYS = st.text(min_size=1, max_size=40).filter(can_exist)


@pytest.mark.parametrize("key", ["a", "a/b", "a//b", "/a", "a/", "..a", "a..", "...", "a b", "%2e%2e", "\U0001f600"])
def test_keys_that_can_exist(key):
    assert can_exist(key)


@pytest.mark.parametrize("key", ["", ".", "..", "./a", "a/.", "a/../b", "../a", "a/..", "\ud800", "a\0b", "x" * 1025])
def test_keys_that_cannot(key):
    assert not can_exist(key)


@pytest.mark.parametrize("key", ["/a", "a/", "a//b", "\t", "a\nb", "\x7f", "/"])
def test_keys_that_obstore_would_change(key):
    assert can_exist(key)
    assert not is_plain(key)


LIKE_PATHS = st.text("ab.~_-/ %", max_size=12) | st.text(max_size=4)


@settings(deadline=None)
@given(LIKE_PATHS)
def test_what_is_ordinary_can_exist_is_plain_and_is_its_own_url(key):
    escaped = quote(key, safe="/~", errors="surrogatepass")
    if is_ordinary(key):
        assert can_exist(key)
        assert is_plain(key)
        assert escaped == key
    assert Place.escaped(key) == escaped


@pytest.mark.parametrize("key", ["a", "a/b.c/d", "..a", "a..", "...", "a/.b", "~a/-_", "x" * 1024])
def test_most_keys_are_ordinary(key):
    assert is_ordinary(key)


@pytest.mark.parametrize(
    "key", ["", ".", "a/..", "./a", "a/./b", "/a", "a/", "a//b", "a b", "a\n", "\u00e9", "x" * 1025]
)
def test_some_are_not(key):
    assert not is_ordinary(key)


@settings(deadline=None)
@given(KEYS)
def test_a_url_holds_the_key_and_nothing_else(key):
    parts = urlsplit(Place.of(SPEC).url(key))
    assert parts.netloc == "acct.blob.core.windows.net"
    assert unquote(parts.path) == f"/$web/{key}"
    assert (parts.query, parts.fragment) == ("", "")


def test_plain_keys_arrive_unchanged(raw_server):
    """Every character that `is_plain` lets through, alone, inside and doubled, over a real connection."""
    raw_server.script = [answer(404)]
    reads = AzureReads(
        BlobSpec(account_name="a", container="c", account_url=raw_server.url, credential=Anonymous()), Timeouts()
    )
    points = [*range(1, 0x180), 0x2028, 0x3000, 0xD7FF, 0xE000, 0xFEFF, 0xFFFD, 0xFFFE, 0x1F600, 0x10FFFF]
    patterns = ("{}", "x{}y", "d/{}{}")
    keys = [key for point in points for pattern in patterns if is_plain(key := pattern.format(chr(point), chr(point)))]
    keys = [key for key in keys if can_exist(key)] + [
        "%41",
        "%2F",
        "a%2e%2e/b",
        "c:/x",
        "x?sig=1&a=b",
        "x#y",
        "..a/...",
    ]
    for key in keys:
        raw_server.requests.clear()
        with pytest.raises(FileNotFoundError):
            obstore.get(reads._store, key)
        assert unquote(raw_server.requests[0].split(b" ")[1].decode()) == f"/acct/c/{key}"
    assert len(keys) > 1000


def test_places_show_no_secrets():
    for credential, words in {AccountKey("k3y"): "the account key", Sas("sig=s"): "the SAS"}.items():
        place = Place.of(BlobSpec(account_name="a", container="c", account_url="https://h", credential=credential))
        assert place.credential == words
        assert "k3y" not in repr(place)
        assert "sig=" not in repr(place)
    assert Place.of(SPEC).name == "acct/$web"


def test_quoted():
    assert quoted("0x1") == quoted('"0x1"') == '"0x1"'
    assert quoted('W/"1"') == 'W/"1"'
