"""Names to nodes over a store: which of several answers wins, and what becomes of one that is doubted."""

import pytest
import trio
import trio.testing

from mountd.tree.inodes import DirectoryNode
from mountd.tree.namespace import MOST_KNOWN
from tests.support.slow_tree import TTL

# ---- the newest answer wins


async def test_a_late_answer_does_not_undo_a_newer_one(autojump_clock, tree):
    """A question sent before a listing, answered after it: the listing knows better."""
    old = tree.memory.set("a", b"1").etag
    tree.store.back_s = lambda method, key: 10.0 if method in ("stat", "is_directory") else 1.0
    seen = []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tree.note_etag, seen, b"a")
        await trio.sleep(1)
        new = tree.memory.set("a", b"2").etag
        await tree.list()
        current = tree.root.children[b"a"]
        assert current.etag == new
    assert seen == [new]
    assert old != new
    assert tree.root.children[b"a"] is current
    assert not current.stale
    assert tree.space.inodes.changed_objects == 0


async def test_without_a_ttl_too_a_late_answer_does_not_undo_a_newer_one(autojump_clock, make_tree):
    tree = make_tree(ttl_s=0.0)
    tree.memory.set("a", b"1")
    delays = iter([10.0, 10.0, 1.0, 1.0])
    tree.store.back_s = lambda method, key: next(delays)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tree.look, b"a")
        await trio.sleep(1)
        new = tree.memory.set("a", b"2").etag
        current = await tree.look(b"a")
        assert current.etag == new
    assert tree.root.children[b"a"] is current
    assert not current.stale


async def test_reading_on_in_an_old_listing_does_not_undo_a_newer_one(autojump_clock, tree):
    tree.memory.set("a", b"1")
    tree.set("gone")
    await tree.list()
    listing = tree.root.listing
    await trio.sleep(TTL + 1)
    new = tree.memory.set("a", b"2").etag
    tree.memory.delete("gone")
    await tree.list()
    current = tree.root.children[b"a"]
    rows = list(tree.space.rows(tree.root, listing, 0))
    assert [(row.name, row.node.etag) for row in rows] == [(b"a", new)]
    assert tree.root.children[b"a"] is current
    assert not current.stale
    assert tree.space.inodes.changed_objects == 1


async def test_reading_on_in_an_old_listing_while_a_new_one_loads(autojump_clock, tree):
    tree.memory.page_limit = 1
    tree.memory.set("a", b"1")
    tree.memory.set("b", b"1")
    old = tree.space.listing(tree.root)
    await old.wait_until(lambda it: False)
    await trio.sleep(TTL + 1)
    new_a, new_b = tree.memory.set("a", b"2").etag, tree.memory.set("b", b"2").etag
    tree.store.there_s = 5.0
    growing = tree.space.listing(tree.root)
    await growing.wait_until(lambda it: len(it) == 1)
    rows = {row.name: row for row in tree.space.rows(tree.root, old, 0)}
    assert rows[b"a"].node.etag == new_a
    assert rows[b"b"].node.etag != new_b
    assert rows[b"b"].valid_s == 0


async def test_a_listing_shows_what_was_learnt_after_it(autojump_clock, tree):
    tree.memory.set("a", b"1")
    tree.set("b")
    tree.memory.page_limit = 1
    listing = tree.space.listing(tree.root)
    await listing.wait_until(lambda it: False)
    await trio.sleep(TTL + 1)
    new = tree.memory.set("a", b"2").etag
    tree.memory.delete("b")
    assert await tree.etag(b"a") == new
    assert await tree.look(b"b") is None
    rows = list(tree.space.rows(tree.root, listing, 0))
    assert [(row.name, row.node.etag) for row in rows] == [(b"a", new)]


async def test_names_that_change_their_kind(autojump_clock, tree):
    tree.set("x")
    first = await tree.look(b"x")
    tree.memory.delete("x")
    tree.set("x/inside")
    await trio.sleep(TTL)
    second = await tree.look(b"x")
    assert isinstance(second, DirectoryNode)
    assert first.stale
    assert (await tree.look(b"inside", second)).key == "x/inside"
    tree.memory.delete("x/inside")
    tree.set("x")
    await trio.sleep(TTL)
    third = await tree.look(b"x")
    assert not isinstance(third, DirectoryNode)
    assert third.ino != first.ino


@pytest.mark.parametrize("listed", [True, False])
async def test_a_directory_shadows_a_file_also_when_it_came_later(autojump_clock, tree, listed):
    tree.set("x")
    assert not isinstance(await tree.look(b"x"), DirectoryNode)
    tree.set("x/inside")
    await trio.sleep(TTL)
    if listed:
        assert await tree.list() == [b"x"]
    assert isinstance(await tree.look(b"x"), DirectoryNode)


async def test_markers_are_directories(autojump_clock, tree):
    tree.memory.set_directory_marker("m")
    tree.set("s/")
    assert isinstance(await tree.look(b"m"), DirectoryNode)
    assert isinstance(await tree.look(b"s"), DirectoryNode)
    assert await tree.list(await tree.look(b"s")) == []


# ---- doubt


async def test_a_doubted_name_is_asked_for_whatever_was_known(autojump_clock, tree):
    tree.memory.set("a", b"1")
    await tree.list()
    old = await tree.look(b"a")
    tree.costs()
    new = tree.memory.set("a", b"2").etag
    tree.space.doubt(old)
    assert old.stale
    assert tree.space.doubted(tree.root, b"a")
    assert tree.space.settled(tree.root, b"a") is None
    assert await tree.etag(b"a") == new
    assert tree.costs() == {"stat": 1, "is_directory": 1}
    assert not tree.space.doubted(tree.root, b"a")
    assert await tree.etag(b"a") == new
    assert tree.costs() == {}


async def test_a_doubted_name_that_is_gone(autojump_clock, tree):
    tree.set("a", "b")
    await tree.list()
    node = await tree.look(b"a")
    tree.memory.delete("a")
    tree.space.doubt(node)
    assert await tree.look(b"a") is None
    tree.costs()
    assert await tree.list() == [b"b"], "the listing is still good, but not for this name"
    assert tree.costs() == {}


async def test_a_doubted_name_is_listed_as_it_was_with_an_answer_that_is_good_for_nothing(autojump_clock, tree):
    tree.set("a")
    await tree.list()
    node = await tree.look(b"a")
    tree.space.doubt(node)
    (row,) = tree.space.rows(tree.root, tree.root.listing, 0)
    assert row.valid_s == 0
    assert tree.space.doubted(tree.root, b"a")


async def test_doubt_about_a_version_that_was_replaced_already_is_no_news(autojump_clock, tree):
    tree.set("a")
    old = await tree.look(b"a")
    tree.set("a")
    await trio.sleep(TTL)
    await tree.look(b"a")
    tree.space.doubt(old)
    assert not tree.space.doubted(tree.root, b"a")


async def test_an_answer_that_was_sent_for_before_the_doubt_does_not_settle_it(autojump_clock, tree):
    tree.memory.set("a", b"1")
    node = await tree.look(b"a")
    await trio.sleep(TTL)
    tree.store.back_s = 10.0
    seen = []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tree.note_etag, seen, b"a")
        await trio.sleep(1)
        new = tree.memory.set("a", b"2").etag
        tree.space.doubt(node)
        nursery.start_soon(tree.note_etag, seen, b"a")
    assert seen == [new, new]
    assert not tree.space.doubted(tree.root, b"a")


async def test_doubts_outlive_ten_thousand_other_questions(autojump_clock, tree):
    tree.set("a")
    await tree.list()
    node = await tree.look(b"a")
    for number in range(MOST_KNOWN // 2):
        tree.space._remember(tree.root, b"%d" % number, tree.space._newest(tree.root, b"none"))
    tree.space.doubt(node)
    for number in range(MOST_KNOWN // 2, MOST_KNOWN + 100):
        tree.space._remember(tree.root, b"%d" % number, tree.space._newest(tree.root, b"none"))
    assert len(tree.root.known) == MOST_KNOWN
    assert tree.space.doubted(tree.root, b"a")
