"""Packed listings against a dictionary: every file is where it was put, and nothing else is anywhere."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.catalog.listing_builder import ListingBuilder
from mountd.catalog.packed_listing import Member, PackedListing, PackedSource, Version, decode, encode, read_listing
from mountd.errors import CorruptError, DeniedError, NotFoundError, UsageError

SOURCE = PackedSource(0, "base/", "")
parts = st.sampled_from(["a", "b", "ab", "é", "\udcff", "x" * 255, "..", ".", "", "x" * 256, "a\0", "z z"])
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
versions = st.tuples(st.integers(0, 1 << 50), st.integers(-(1 << 60), 1 << 60), st.text("ab\"'é", max_size=4))


def build(files, sources=(SOURCE,), *, single_file=False, labels=("label", "other")):
    builder = ListingBuilder(sources, [f"source {n}" for n in range(len(sources))], labels)
    for path, source, *version in files:
        builder.add(path, source, *version)
    return PackedListing(builder.build(single_file=single_file), "test")


def expressible(path):
    return all(
        0 < len(encode(part)) <= 255 and part not in {".", ".."} and "\0" not in part for part in path.split("/")
    )


@given(st.dictionaries(paths, versions, max_size=12))
def test_every_file_is_found_and_nothing_else(files):
    listing = build([(path, 0, *version) for path, version in files.items()])
    shown = {path: version for path, version in files.items() if expressible(path)}
    above = {path[: at.start()] for path in shown for at in re.finditer("/", path)}
    lost = {path for path in shown if path in above and shown[path][0]}
    shown = {path: version for path, version in shown.items() if path not in above}
    odd = {path for path in files if not expressible(path)}

    found = list(listing.paths())
    assert sorted(found) == sorted(shown)
    assert [listing.path(file) for file in range(len(listing))] == found
    assert {hidden.path for hidden in listing.header.hidden} == odd | lost
    assert listing.header.hidden_count == len(odd | lost)
    assert listing.directories == len(above | {""})
    assert listing.total_bytes == sum(version[0] for version in shown.values())
    for file, path in enumerate(found):
        assert listing.find(path) == file
        assert listing.version(file) == Version(*shown[path])
        assert listing.member(file, path) == Member(0, f"base/{path}")
        assert listing.directory_path(listing.directory_of(file)) == path.rpartition("/")[0]
    for path in [*odd, *above, "missing", "a/missing", ""]:
        assert listing.find(path) == -1


@given(st.dictionaries(paths, versions, max_size=12))
def test_directories_are_a_walk(files):
    listing = build([(path, 0, *version) for path, version in files.items()])
    seen = []

    def walk(directory):
        seen.append(directory)
        names = [listing.directory_name(child) for child in listing.children(directory)]
        assert names == sorted(names)
        assert [listing.file_name(file) for file in listing.files(directory)] == sorted(
            listing.file_name(file) for file in listing.files(directory)
        )
        for child in listing.children(directory):
            assert listing.parent(child) == directory
            assert listing.walk_to(listing.directory_path(child)) == child
            walk(child)
        below = [file for each in seen[seen.index(directory) :] for file in listing.files(each)]
        assert list(listing.files_below(directory)) == below

    walk(0)
    assert seen == list(range(listing.directories))


def test_what_cannot_be_expressed_survives_as_bytes():
    assert decode(encode("\udcff/é")) == "\udcff/é"


def test_one_object_found_by_two_sources_counts_once():
    sources = [PackedSource(0, "d/", ""), PackedSource(0, "d/a", "a")]
    assert list(build([("a", 0, 1, 1, "e"), ("a", 1, 1, 1, "e")], sources).paths()) == ["a"]


@pytest.mark.parametrize("other", ["x", "x/y"])
def test_two_objects_at_one_path_are_an_error_that_names_both(other):
    sources = [PackedSource(0, "d/", ""), PackedSource(1, "e/", "")]
    with pytest.raises(UsageError, match=r"source 0 and source 1 both show something at 'x'"):
        build([("x", 0, 1, 1, "e"), (other, 1, 1, 1, "e")], sources)


def test_runtime_paths_of_one_source_are_those_of_the_mount():
    assert list(build([("a/b c", 0, 1, 1, "e")]).runtime_paths()) == ["/a/b c"]


def test_runtime_paths_of_several_sources_are_whole():
    sources = [PackedSource(0, "d/", ""), PackedSource(1, "e/", "")]
    listing = build([("a b", 0, 1, 1, "e"), ("z", 1, 1, 1, "e")], sources)
    assert list(listing.runtime_paths()) == ["/label/d/a%20b", "/other/e/z"]


def test_runtime_paths_of_web_files_name_scheme_and_host():
    sources = [PackedSource(0, "http/127.0.0.1:80/a", "a"), PackedSource(0, "http/127.0.0.1:80/b/c", "b/c")]
    listing = build([("a", 0, 1, 1, "e"), ("b/c", 1, 1, 1, "e")], sources, labels=[""])
    assert list(listing.runtime_paths()) == ["/http%3A/%2F127.0.0.1%3A80/a", "/http%3A/%2F127.0.0.1%3A80/b/c"]


def test_a_single_file_is_named():
    assert build([("t.csv", 0, 1, 1, "e")], single_file=True).single_file == "t.csv"
    assert build([("t.csv", 0, 1, 1, "e")]).single_file is None


def test_damage_anywhere_is_noticed(tmp_path):
    builder = ListingBuilder([SOURCE], [""], [""])
    builder.add("a/b", 0, 1, 1, "e")
    data = builder.build(single_file=False)
    for at in range(0, len(data), 7):
        with pytest.raises(CorruptError, match="test"):
            PackedListing(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "test")
        with pytest.raises(CorruptError, match="test"):
            PackedListing(data[:at], "test")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "x.listing"
    with pytest.raises(NotFoundError, match=r"x\.listing"):
        read_listing(path)
    path.mkdir()
    with pytest.raises(Exception, match=r"x\.listing"):
        read_listing(path)
    path.rmdir()
    path.touch(0o000)
    with pytest.raises((DeniedError, CorruptError), match=r"x\.listing"):  # root may read it, and finds nothing
        read_listing(path)
