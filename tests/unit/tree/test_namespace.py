"""Names to nodes over a store: what a lookup costs, how long an answer is good for, what fails."""

import math

import pytest
import trio
import trio.testing

from mountd.errors import DeniedError, MountdError, NameTooLongError, NotFoundError, UnavailableError
from mountd.tree.inodes import DirectoryNode
from tests.support.slow_tree import TTL, Tree

# ---- what a lookup costs


async def test_a_name_in_an_unlisted_directory_costs_one_head_and_one_list_side_by_side(autojump_clock, tree):
    tree.set("a")
    tree.store.there_s = 1.0
    start = trio.current_time()
    node = await tree.look(b"a")
    assert (node.key, node.size) == ("a", 1)
    assert tree.costs() == {"stat": 1, "is_directory": 1}
    assert trio.current_time() - start == pytest.approx(1)


async def test_a_directory_and_nothing_cost_the_same(autojump_clock, tree):
    tree.set("d/x")
    assert isinstance(await tree.look(b"d"), DirectoryNode)
    assert tree.costs() == {"stat": 1, "is_directory": 1}
    assert await tree.look(b"none") is None
    assert tree.costs() == {"stat": 1, "is_directory": 1}


async def test_the_third_name_starts_the_listing_and_one_listing_answers_for_all(autojump_clock, tree):
    tree.set(*[f"k{number}" for number in range(100)])
    for number in range(100):
        assert (await tree.look(b"k%d" % number)).key == f"k{number}"
    assert tree.costs() == {"stat": 2, "is_directory": 2, "list_page": 1}
    for number in range(100):
        assert await tree.look(b"absent%d" % number) is None
    assert tree.costs() == {}, "a complete listing answers for absent names"


async def test_each_directory_counts_for_itself(autojump_clock, tree):
    tree.set("a/1", "a/2", "b/1", "b/2")
    for parent in (b"a", b"b"):
        directory = await tree.look(parent)
        tree.costs()
        for name in (b"1", b"2"):
            await tree.look(name, directory)
        assert tree.costs() == {"stat": 2, "is_directory": 2}


async def test_a_third_name_waits_for_one_page_only(autojump_clock, tree):
    """Of a large directory the first page may know the name; if not, a question is faster than all pages."""
    tree.memory.page_limit = 10
    tree.set(*[f"k{number:04}" for number in range(1000)])
    tree.store.there_s = 1.0
    tree.root.asked = 2
    start = trio.current_time()
    assert (await tree.look(b"k0003")).key == "k0003"
    assert trio.current_time() - start == pytest.approx(1)
    assert (await tree.look(b"k0990")).key == "k0990"
    assert trio.current_time() - start == pytest.approx(2)
    assert await tree.look(b"absent") is None
    await trio.sleep(200)
    assert tree.costs() == {"list_page": 100, "stat": 2, "is_directory": 2}


async def test_a_read_directory_needs_no_question(autojump_clock, tree):
    tree.set("a", "d/x")
    assert await tree.list() == [b"d", b"a"]
    tree.costs()
    assert (await tree.look(b"a")).key == "a"
    assert isinstance(await tree.look(b"d"), DirectoryNode)
    assert await tree.look(b"none") is None
    assert tree.costs() == {}


async def test_below_a_key_as_root(autojump_clock, make_tree):
    tree = make_tree(root_key="top/sub")
    tree.set("top/sub/a", "top/sub/d/x", "elsewhere")
    assert await tree.list() == [b"d", b"a"]
    assert (await tree.look(b"a")).key == "top/sub/a"
    assert (await tree.look(b"x", await tree.look(b"d"))).key == "top/sub/d/x"
    assert await tree.look(b"elsewhere") is None


# ---- how long an answer is good for


async def test_an_answer_is_good_for_one_ttl_from_when_it_was_sent_for(autojump_clock, tree):
    tree.set("a")
    tree.store.there_s = tree.store.back_s = 2.0
    start = trio.current_time()
    answer = await tree.space.lookup(tree.root, b"a")
    assert trio.current_time() - start == pytest.approx(4)
    assert answer.valid_s == pytest.approx(TTL - 4)
    tree.costs()
    await trio.sleep(TTL - 4 - 0.01)
    assert (await tree.space.lookup(tree.root, b"a")).valid_s == pytest.approx(0.01)
    assert tree.costs() == {}
    await trio.sleep(0.01)
    assert (await tree.space.lookup(tree.root, b"a")).valid_s == pytest.approx(TTL - 4)
    assert tree.costs() == {"stat": 1, "is_directory": 1}


@pytest.mark.parametrize("by", ["question", "listing"])
async def test_changes_are_seen_one_ttl_later_and_not_before(autojump_clock, tree, by):
    old = tree.memory.set("a", b"1").etag
    tree.set("gone")
    if by == "listing":
        await tree.list()
    assert await tree.etag(b"a") == old
    assert await tree.look(b"gone") is not None
    assert await tree.look(b"new") is None
    new = tree.memory.set("a", b"2").etag
    tree.memory.delete("gone")
    tree.set("new")
    await trio.sleep(TTL - 1)
    assert await tree.etag(b"a") == old
    assert await tree.look(b"gone") is not None
    assert await tree.look(b"new") is None
    await trio.sleep(1)
    assert await tree.etag(b"a") == new
    assert await tree.look(b"gone") is None
    assert await tree.look(b"new") is not None


async def test_the_entries_of_a_long_listing_are_as_old_as_their_page_and_absence_as_the_first(autojump_clock, tree):
    tree.memory.page_limit = 1
    tree.set("a", "b", "c")
    tree.store.there_s = 10.0
    await tree.list()
    tree.costs()
    await trio.sleep(5)  # 35 s after the first page was asked for, 15 s after the last
    assert await tree.etag(b"c") is not None
    assert tree.costs() == {}
    await tree.look(b"a")
    await tree.look(b"none")
    assert tree.costs() == {"stat": 2, "is_directory": 2}


async def test_without_a_ttl_each_lookup_asks(autojump_clock, make_tree):
    tree = make_tree(ttl_s=0.0)
    tree.set("a")
    for _ in range(5):
        answer = await tree.space.lookup(tree.root, b"a")
        assert answer.valid_s == 0
    assert await tree.look(b"none") is None
    assert tree.costs() == {"stat": 6, "is_directory": 6}
    await tree.list()
    await tree.list()
    assert tree.costs() == {"list_page": 2}
    await tree.look(b"a")
    assert tree.costs() == {"stat": 1, "is_directory": 1}


async def test_without_a_ttl_nobody_takes_an_answer_that_was_asked_for_before(autojump_clock, make_tree):
    """Neither to a question nor to a listing that is under way."""
    tree = make_tree(ttl_s=0.0)
    old = tree.memory.set("a", b"1").etag
    tree.store.back_s = 1.0
    seen = []

    async def look():
        seen.append((await tree.etag(b"a"), await tree.list()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await trio.sleep(0.5)
        new = tree.memory.set("a", b"2").etag
        nursery.start_soon(look)
        await trio.sleep(1)
        tree.set("b")
    assert sorted(seen) == sorted([(old, [b"a"]), (new, [b"a", b"b"])])


async def test_an_infinite_ttl_never_asks_again(autojump_clock, make_tree):
    tree = make_tree(ttl_s=math.inf)
    tree.set("a", "b", "d/x")
    await tree.look(b"a")
    await tree.list()
    tree.costs()
    tree.memory.set("a", b"2")
    tree.memory.delete("b")
    autojump_clock.jump(1e9)
    answer = await tree.space.lookup(tree.root, b"a")
    assert answer.valid_s == math.inf
    assert await tree.look(b"b") is not None
    assert await tree.look(b"none") is None
    assert await tree.list() == [b"d", b"a", b"b"]
    assert tree.costs() == {}


# ---- failures


async def test_a_failed_question_is_an_error_and_the_next_one_works(autojump_clock, tree):
    tree.set("a")

    async def down(method, key):
        raise UnavailableError("down")

    tree.store.fault = down
    for _ in range(4):
        with pytest.raises(UnavailableError):
            await tree.look(b"a")
    tree.store.fault = None
    assert (await tree.look(b"a")).key == "a"


@pytest.mark.parametrize("broken", ["stat", "is_directory"])
async def test_half_a_question_that_fails_is_one_plain_error(autojump_clock, tree, broken):
    tree.set("a")

    async def denied(method, key):
        if method == broken:
            raise DeniedError("no")

    tree.store.fault = denied
    with pytest.raises(DeniedError):
        await tree.look(b"a")


async def test_both_halves_that_fail_are_one_plain_error(autojump_clock, tree):
    async def denied(method, key):
        raise DeniedError("no")

    tree.store.fault = denied
    with pytest.raises(DeniedError):
        await tree.look(b"a")


async def test_a_defect_in_the_store_ends_the_lookup_and_nothing_else(autojump_clock, tree):
    tree.set("a")

    async def defect(method, key):
        if method != "is_directory":
            raise ZeroDivisionError

    tree.store.fault = defect
    with pytest.RaisesGroup(ZeroDivisionError):
        await tree.look(b"a")
    tree.root.asked = 5
    with pytest.RaisesGroup(ZeroDivisionError):
        await tree.look(b"a")
    with pytest.raises(MountdError, match="ZeroDivisionError"):
        await tree.list()
    tree.store.fault = None
    assert (await tree.look(b"a")).key == "a"
    assert await tree.list() == [b"a"]


async def test_where_listing_is_refused_names_are_asked_for_one_by_one(autojump_clock, tree):
    tree.set(*[f"k{number}" for number in range(10)])

    async def no_list(method, key):
        if method == "list_page":
            raise DeniedError("no list")

    tree.store.fault = no_list
    for number in range(10):
        assert (await tree.look(b"k%d" % number)).key == f"k{number}"
    with pytest.raises(DeniedError):
        await tree.list()


async def test_a_listing_that_fails_midway_fails_its_readers_and_answers_for_nothing_absent(autojump_clock, tree):
    tree.memory.page_limit = 2
    tree.set(*[f"k{number}" for number in range(6)])
    pages = 0

    async def fail_the_third(method, key):
        nonlocal pages
        if method == "list_page":
            pages += 1
            if pages == 3:
                raise UnavailableError("down")

    tree.store.fault = fail_the_third
    tree.store.there_s = 1.0
    listing = tree.space.listing(tree.root)
    await listing.wait_until(lambda it: len(it) == 4)
    with pytest.raises(UnavailableError):
        await listing.wait_until(lambda it: len(it) == 5)
    assert tree.root.listing is None
    assert tree.root.loading is None
    assert (await tree.look(b"k5")).key == "k5"
    assert await tree.list() == [b"k%d" % number for number in range(6)]


async def test_a_failed_listing_leaves_the_one_before_in_place(autojump_clock, make_tree):
    tree = make_tree(ttl_s=math.inf)
    tree.set("a")
    await tree.list()
    broken = tree.space._load(tree.root)

    async def down(method, key):
        raise UnavailableError("down")

    tree.store.fault = down
    with pytest.raises(UnavailableError):
        await broken.wait_until(lambda it: False)
    assert await tree.list() == [b"a"]
    assert (await tree.look(b"a")).key == "a"


async def test_readers_of_a_listing_get_an_error_when_the_mount_ends(autojump_clock):
    errors = []

    async def read(listing):
        try:
            await listing.wait_until(lambda it: False)
        except UnavailableError as error:
            errors.append(error)

    async with trio.open_nursery() as readers, trio.open_nursery() as owner:
        tree = Tree(owner, TTL, "")
        tree.store.hanging = True
        readers.start_soon(read, tree.space.listing(tree.root))
        await trio.testing.wait_all_tasks_blocked()
        owner.cancel_scope.cancel()
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("name", "error"), [(b"x" * 256, NameTooLongError), (b"..", NotFoundError), (b"a/b", NotFoundError)]
)
async def test_names_that_cannot_be_cost_nothing(autojump_clock, tree, name, error):
    with pytest.raises(error):
        await tree.space.lookup(tree.root, name)
    assert tree.costs() == {}


async def test_names_that_no_path_can_express_are_hidden_and_counted_once(autojump_clock, tree):
    tree.set("a//b", "..", "./x", "ok", "x" * 256, "d/" + "y" * 300)
    assert sorted(await tree.list()) == [b"a", b"d", b"ok"]
    assert tree.space.hidden_names == 3
    await trio.sleep(TTL)
    await tree.list()
    assert tree.space.hidden_names == 3
    assert await tree.list(await tree.look(b"a")) == []
    assert await tree.list(await tree.look(b"d")) == []
    assert tree.space.hidden_names == 5  # and all of `a//`
