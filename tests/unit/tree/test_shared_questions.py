"""Names to nodes over a store: one request for all who ask."""

import trio
import trio.testing


async def test_a_question_under_way_is_shared(autojump_clock, tree):
    tree.set("a")
    tree.store.there_s = 1.0
    async with trio.open_nursery() as nursery:
        for _ in range(2):  # a third would start the listing
            nursery.start_soon(tree.look, b"a")
    assert tree.costs() == {"stat": 1, "is_directory": 1}


async def test_a_listing_under_way_is_shared_and_outlives_who_started_it(autojump_clock, tree):
    tree.set("a", "b")
    tree.store.there_s = 1.0
    with trio.move_on_after(0.5):
        await tree.list()
    async with trio.open_nursery() as nursery:
        for name in (b"a", b"b", b"none", b"a"):
            nursery.start_soon(tree.look, name)
        nursery.start_soon(tree.list)
    assert tree.costs() == {"list_page": 1}


async def test_a_cancelled_lookup_cancels_nothing_for_others(autojump_clock, tree):
    tree.set("a")
    tree.store.there_s = 1.0
    found = []

    async def patient():
        found.append(await tree.look(b"a"))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            nursery.start_soon(patient)
            await tree.look(b"a")
    assert found[0].key == "a"
    assert tree.costs() == {"stat": 1, "is_directory": 1}


async def test_who_joins_a_slow_question_gets_no_answer_older_than_the_ttl(autojump_clock, make_tree):
    """The question was sent at 0 and answered at once, but the answer took five seconds; the TTL is one."""
    tree = make_tree(ttl_s=1.0)
    tree.root.asked = -10  # no listing
    old = tree.memory.set("a", b"1").etag
    tree.store.back_s = 5.0
    seen = []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tree.note_etag, seen, b"a")
        await trio.sleep(0.5)
        new = tree.memory.set("a", b"2").etag
        nursery.start_soon(tree.note_etag, seen, b"a")
        await trio.sleep(2)
        nursery.start_soon(tree.note_etag, seen, b"a")
    assert seen == [old, old, new]


async def test_who_opens_a_directory_gets_no_listing_older_than_the_ttl(autojump_clock, make_tree):
    """One that still grows may be older than that."""
    tree = make_tree(ttl_s=10.0)
    tree.memory.page_limit = 1
    tree.set("a", "b", "c", "d", "e")
    tree.store.back_s = 4.0
    listed = []

    async def read():
        listed.append(await tree.list())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.sleep(5)
        tree.memory.delete("a")
        nursery.start_soon(read)
        await trio.sleep(6)
        nursery.start_soon(read)
    assert listed == [[b"a", b"b", b"c", b"d", b"e"]] * 2 + [[b"b", b"c", b"d", b"e"]]
    assert await tree.list() == [b"b", b"c", b"d", b"e"]
    assert await tree.look(b"a") is None


async def test_a_listing_that_comes_in_after_a_later_one_does_not_count(autojump_clock, make_tree):
    tree = make_tree(ttl_s=10.0)
    tree.set("a")
    delays = iter([50.0, 1.0])
    tree.store.back_s = lambda method, key: next(delays)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tree.list)
        await trio.sleep(45)
        tree.memory.delete("a")
        tree.set("b")
        assert await tree.list() == [b"b"]
        await trio.sleep(6)
        tree.costs()
        assert await tree.look(b"a") is None
        assert await tree.list() == [b"b"]
        assert tree.costs() == {}
