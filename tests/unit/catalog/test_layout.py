"""Where files show up."""

import pytest

from mountd.catalog.layout import Place, label, lay_out, web_key
from mountd.catalog.model import BlobSpec, LocalSpec, WebSpec
from mountd.catalog.web_url import parse_web_url

ONE = BlobSpec(account_name="one", container="c", account_url="https://one.blob.core.windows.net")
TWO = BlobSpec(account_name="two", container="c", account_url="https://two.blob.core.windows.net")
EMULATED = BlobSpec(account_name="devstoreaccount1", container="c", account_url="http://127.0.0.1:9/devstoreaccount1")
HERE = LocalSpec(path="/data")


def shown(places, stores, *keys):
    """Return where the n-th key, which is of the n-th place, shows up."""
    packed = lay_out(places, stores)
    for source, key in zip(packed, keys, strict=True):
        assert key.startswith(source.key)
    return [source.shown + key[len(source.key) :] for source, key in zip(packed, keys, strict=True)]


@pytest.mark.parametrize(
    ("place", "key", "path"),
    [
        (Place(0, "d/small", False), "d/small/0.bin", "0.bin"),
        (Place(0, "", False), "d/small/0.bin", "d/small/0.bin"),
        (Place(0, "d/big.bin", True), "d/big.bin", "big.bin"),
        (Place(0, "big.bin", True), "big.bin", "big.bin"),
    ],
)
def test_of_one_source_its_directory_is_left_out(place, key, path):
    assert shown([place], [ONE], key) == [path]


def test_of_several_sources_what_they_have_in_common_is_left_out():
    places = [Place(0, "set/train", False), Place(0, "set/test", False)]
    assert shown(places, [ONE], "set/train/a", "set/test/a") == ["train/a", "test/a"]
    places = [Place(0, "p/big.bin", True), Place(0, "p/sub/a.txt", True)]
    assert shown(places, [ONE], "p/big.bin", "p/sub/a.txt") == ["big.bin", "sub/a.txt"]
    places = [Place(0, "setup", False), Place(0, "set", False)]
    assert shown(places, [ONE], "setup/a", "set/a") == ["setup/a", "set/a"]


def test_stores_keep_apart():
    places = [Place(0, "d", False), Place(1, "d", False)]
    assert shown(places, [ONE, TWO], "d/a", "d/a") == [
        "one.blob.core.windows.net/c/d/a",
        "two.blob.core.windows.net/c/d/a",
    ]
    assert shown(places, [ONE, HERE], "d/a", "d/a") == ["one.blob.core.windows.net/c/d/a", "local/data/d/a"]
    assert shown(places, [LocalSpec(path="/data/x"), LocalSpec(path="/data/y")], "d/a", "d/a") == ["x/d/a", "y/d/a"]


def test_web_files():
    web = WebSpec(name="", files=())
    places = [Place(0, "http/h:1/big.bin", True), Place(0, "http/h:1/sub/a.txt", True)]
    assert shown(places, [web], "http/h:1/big.bin", "http/h:1/sub/a.txt") == ["big.bin", "sub/a.txt"]
    assert shown(places[:1], [web], "http/h:1/big.bin") == ["big.bin"]
    assert web_key(parse_web_url("HTTPS://u:p@H.example:8/a%20b//c?x=y")) == "https/h.example:8/a b/c"
    assert label(web) == ""


def test_labels():
    assert label(ONE) == "https%3A/%2Fone.blob.core.windows.net/c"
    assert label(EMULATED) == "http%3A/%2F127.0.0.1%3A9/devstoreaccount1/c"
    assert label(LocalSpec(path="/data/a b")) == "file%3A/data/a%20b"
