"""Which mounts show the same: one of them brings it for all."""

import msgspec

from mountd.catalog.model import (
    AccountKey,
    BlobSpec,
    DatasetSource,
    DatasetSpec,
    LocalSpec,
    Location,
    WebSpec,
)
from mountd.modes.disk import shown_by

BLOB = BlobSpec(account_name="acct", container="data", account_url="https://acct.blob.core.windows.net")
WITH_KEY = msgspec.structs.replace(BLOB, credential=AccountKey("a2V5"))


def location(store, path=""):
    return Location(store=store, path=path, source="as written")


def dataset(*stores, pattern="**/*.jpg", listing=None):
    source = DatasetSource(store=0, path="pictures", pattern=pattern, text="as written")
    return location(DatasetSpec(name="as written", stores=stores, sources=(source,), listing=listing))


def test_the_same_place_whatever_the_credential():
    assert shown_by(location(BLOB, "a")) == shown_by(location(WITH_KEY, "a")) != ""
    assert shown_by(location(BLOB, "a")) != shown_by(location(BLOB, "b"))


def test_a_dataset_that_is_listed_for_each_use_is_told_by_what_is_asked_for():
    assert shown_by(dataset(BLOB)) == shown_by(dataset(WITH_KEY)) != ""
    others = [dataset(BLOB, pattern="**/*.png"), dataset(LocalSpec(path="/srv")), dataset(BLOB, listing="/listing")]
    assert len({shown_by(one) for one in [dataset(BLOB), *others]}) == 4


def test_what_cannot_be_told_is_empty():
    web = WebSpec(name="file", files=())
    assert shown_by(location(web)) == shown_by(dataset(web)) == ""
