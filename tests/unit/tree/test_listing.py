"""Packed listings against a dictionary."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from mountd.errors import UnavailableError
from mountd.stores.base import ObjectInfo
from mountd.tree import names
from mountd.tree.listing import A_DIRECTORY, Entry, Listing
from mountd.units import ETag

parts = st.sampled_from(["a", "b", "é", "\udcff", "x" * 255, "..", ".", "", "x" * 256, "a\0", "z z"]) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/"), max_size=5
)
objects = st.tuples(parts, st.integers(0, 1 << 50), st.integers(-(1 << 60), 1 << 60), st.text("ab\"'é", max_size=4))
pages = st.lists(st.tuples(st.lists(objects, max_size=5), st.lists(parts, max_size=4)), max_size=6)


def info(directory, part, size=1, mtime_ns=0, etag='"e"'):
    return ObjectInfo(names.child_key(directory, part), size, mtime_ns, ETag(etag))


def fill(listing, directory, page, asked_at):
    found, directories = page
    listing.add_page(
        [info(directory, *fields) for fields in found], [names.child_key(directory, d) for d in directories], asked_at
    )


class Reference:
    """Names in order of arrival; a directory shadows an object of its name."""

    def __init__(self):
        self.entries = {}
        self.asked_at = {}

    def add(self, page, asked_at):
        found, directories = page
        for part in directories:
            self._put(part, A_DIRECTORY, asked_at)
        for part, size, mtime_ns, etag in found:
            self._put(part, Entry(size, mtime_ns, etag), asked_at)

    def _put(self, part, entry, asked_at):
        name = names.encode(part)
        if not names.expressible(name):
            return
        self.asked_at.setdefault(name, asked_at)
        if name not in self.entries or entry.is_directory:
            self.entries[name] = entry


@given(pages=pages, directory=st.sampled_from(["", "d", "d/é"]))
def test_any_pages(pages, directory):
    listing, reference = Listing(directory, 10.0), Reference()
    places = {}
    for number, page in enumerate(pages):
        fill(listing, directory, page, 10.0 + number)
        reference.add(page, 10.0 + number)
        assert len(listing) == len(reference.entries)
        assert [listing.name(i) for i in range(len(listing))] == list(reference.entries)
        for name in reference.entries:
            assert places.setdefault(name, listing.find(name)) == listing.find(name), "an index never changes"
    for finished in (False, True):
        if finished:
            listing.finish()
        for index, (name, entry) in enumerate(reference.entries.items()):
            assert listing.find(name) == index
            assert listing.name(index) == name
            assert listing.entry(index) == entry
            assert listing.entry(index).is_directory == entry.is_directory
            assert listing.entry_asked_at(index) == reference.asked_at[name]
        for absent in (b"not in here", b"", b"\xfe\xfe", b".."):
            assert listing.find(absent) == -1
        assert listing.entry_asked_at(-1) == 10.0
        assert listing.complete == finished
    assert listing.pages == len(pages)


def test_a_directory_shadows_an_object_also_when_it_comes_on_a_later_page():
    listing = Listing("d", 0.0)
    listing.add_page([info("d", "x", 7)], [], 1.0)
    assert listing.entry(0).size == 7
    listing.add_page([], ["d/x"], 2.0)
    listing.add_page([info("d", "x", 7)], [], 3.0)
    assert len(listing) == 1
    assert listing.entry(0) == A_DIRECTORY


def test_objects_that_cannot_be_named_are_counted_and_the_marker_is_not():
    listing = Listing("d", 0.0)
    listing.add_page([info("d", ".."), info("d", "x" * 256), info("d", ""), info("d", "fine")], ["d/."], 1.0)
    assert [listing.name(i) for i in range(len(listing))] == [b"fine"]
    assert listing.hidden == 3


def test_empty_pages_do_not_move_the_times_of_entries():
    listing = Listing("", 1.0)
    for asked_at, name in ((1.0, None), (2.0, "a"), (3.0, None), (4.0, None), (5.0, "b"), (6.0, None)):
        listing.add_page([info("", name)] if name else [], [], asked_at)
    assert [listing.entry_asked_at(i) for i in range(2)] == [2.0, 5.0]


# ---- waiting


async def wait(listing, ready, log, name):
    try:
        await listing.wait_until(ready)
        log.append(name)
    except UnavailableError as error:
        log.append(error)


async def test_waiters_wake_when_what_they_wait_for_is_here(nursery):
    listing, log = Listing("", 0.0), []
    nursery.start_soon(wait, listing, lambda it: it.find(b"b") >= 0, log, "b")
    nursery.start_soon(wait, listing, lambda it: len(it) > 2, log, "three")
    await trio.testing.wait_all_tasks_blocked()
    listing.add_page([info("", "a")], [], 1.0)
    await trio.testing.wait_all_tasks_blocked()
    assert log == []
    listing.add_page([info("", "b")], [], 2.0)
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["b"]
    listing.finish()
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["b", "three"], "there will be no third"


async def test_a_failure_reaches_those_who_wait_and_those_who_come_later(nursery):
    listing, log = Listing("", 0.0), []
    nursery.start_soon(wait, listing, lambda it: len(it) > 1, log, "two")
    await trio.testing.wait_all_tasks_blocked()
    listing.add_page([info("", "a")], [], 1.0)
    listing.fail(UnavailableError("down"))
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(UnavailableError):
        await listing.wait_until(lambda it: len(it) > 1)
    await listing.wait_until(lambda it: len(it) > 0)
    assert [str(error) for error in log] == ["down"]
