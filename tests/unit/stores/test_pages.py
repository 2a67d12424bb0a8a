"""Pages come in their order, whatever a store says early of the next one, and two are under way at most."""

import pytest
import trio

from mountd.aio.retry import RetryPolicy
from mountd.errors import NotFoundError, UnavailableError
from mountd.stores.base import Capabilities, ObjectInfo, Page
from mountd.stores.guarded import GuardedStore
from mountd.stores.memory import MemoryStore
from mountd.stores.pages import each_page

FETCH_S = 1.0
POLICY = RetryPolicy(deadline_s=60, first_pause_s=1, longest_pause_s=8)


def page(name, following):
    return Page([ObjectInfo(name, 1, 0, '"1"')], [], following)


class Shelf:
    """Pages by their markers: each is fetched in a second, says what it says early, and is taken apart in a while."""

    name = "shelf"
    capabilities = Capabilities(writable=False, page_limit=1)

    def __init__(self, pages, *, early=None, apart_s=1.0):
        self.pages = pages
        self.early = {marker: (one.next,) for marker, one in pages.items() if isinstance(one, Page)} | (early or {})
        self.apart_s = apart_s
        self.asked = []
        self.cancelled = []
        self.running = self.most = 0

    async def page_ahead(self, directory, marker, *, deep, following):
        assert (directory, deep) == ("d", False)
        self.asked.append((trio.current_time() - self.began, marker))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await trio.sleep(FETCH_S)
            for said in self.early.get(marker, ()):
                if said is not None:
                    following(said)
            await trio.sleep(self.apart_s)
        except trio.Cancelled:
            self.cancelled.append(marker)
            raise
        finally:
            self.running -= 1
        found = self.pages[marker]
        if isinstance(found, Exception):
            raise found
        return found

    async def names(self, taken=None):
        """Return the names of all pages."""
        self.began = trio.current_time()
        taken = [] if taken is None else taken
        await each_page(self, "d", lambda one, asked_at: taken.append((one.objects[0].key, asked_at - self.began)))
        return [name for name, _ in taken]


THREE = {None: page("a", "2"), "2": page("b", "3"), "3": page("c", None)}


async def test_the_next_page_is_asked_for_while_the_one_before_is_taken_apart(autojump_clock):
    shelf, taken = Shelf(THREE), []
    assert await shelf.names(taken) == ["a", "b", "c"]
    assert shelf.asked == [(0, None), (1, "2"), (2, "3")]
    assert [asked_at for _, asked_at in taken] == [0, 1, 2], "answers are as old as their requests"
    assert trio.current_time() - shelf.began == 4


async def test_no_third_page_is_under_way_while_the_first_is_taken_apart(autojump_clock):
    shelf = Shelf(THREE, apart_s=10.0)
    assert await shelf.names() == ["a", "b", "c"]
    assert shelf.asked == [(0, None), (1, "2"), (11, "3")]
    assert shelf.most == 2


async def test_without_an_early_marker_one_page_follows_the_other(autojump_clock):
    shelf = Shelf(THREE, early=dict.fromkeys([None, "2"], ()))
    assert await shelf.names() == ["a", "b", "c"]
    assert shelf.asked == [(0, None), (2, "2"), (4, "3")]


async def test_the_next_page_is_asked_for_before_this_one_is_taken(autojump_clock):
    shelf, asked = Shelf(THREE, early=dict.fromkeys([None, "2"], ())), []
    shelf.began = trio.current_time()
    started = []
    begin = trio.Nursery.start_soon

    def counting(nursery, ask, *args, **more):
        started.append(ask)
        begin(nursery, ask, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.Nursery, "start_soon", counting)
        await each_page(shelf, "d", lambda *_: asked.append(len(started)))
    assert asked == [2, 3, 3]


@pytest.mark.parametrize("said", [("3",), ("3", "2"), ("2", "3"), ("nonsense",)])
async def test_what_follows_a_page_is_what_the_page_says(autojump_clock, said):
    shelf = Shelf({**THREE, "nonsense": NotFoundError("no such page")}, early={None: said})
    assert await shelf.names() == ["a", "b", "c"]
    assert shelf.cancelled == ([] if said[0] == "2" else [said[0]])


async def test_nothing_follows_the_last_page_whatever_was_said_early(autojump_clock):
    shelf = Shelf(THREE, early={"3": ("4",)})
    assert await shelf.names() == ["a", "b", "c"]
    assert shelf.cancelled == ["4"]
    assert shelf.running == 0


async def test_a_page_that_fails_does_so_after_those_before_it_and_as_it_is(autojump_clock):
    shelf, taken = Shelf({**THREE, "2": UnavailableError("gone"), "3": page("c", "4")}, early={"2": ("3",)}), []
    with pytest.raises(UnavailableError, match="gone"):
        await shelf.names(taken)
    assert [name for name, _ in taken] == ["a"]
    assert (shelf.running, shelf.cancelled) == (0, ["3"])


async def test_an_error_of_who_takes_the_pages_comes_out_as_it_is(autojump_clock):
    shelf = Shelf(THREE)
    shelf.began = trio.current_time()
    with pytest.raises(ZeroDivisionError):
        await each_page(shelf, "d", lambda *_: 1 / 0)
    assert (shelf.running, shelf.cancelled) == (0, ["2"])


async def test_whoever_goes_away_leaves_nothing_under_way(autojump_clock):
    shelf = Shelf(THREE)
    with trio.move_on_after(1.5) as waiting:
        await shelf.names()
    assert waiting.cancelled_caught
    assert (shelf.running, sorted(shelf.cancelled, key=str)) == (0, ["2", None])


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("guarded", [False, True])
async def test_a_store_that_says_nothing_early_is_asked_page_by_page(deep, guarded):
    memory = MemoryStore(page_limit=2)
    for key in ("d/a", "d/b", "d/c", "d/e/f", "g"):
        memory.set(key, b"1")
    names = []
    store = GuardedStore(memory, POLICY) if guarded else memory
    await each_page(store, "d", lambda one, _: names.extend(info.key for info in one.objects), deep=deep)
    assert names == (["d/a", "d/b", "d/c", "d/e/f"] if deep else ["d/a", "d/b", "d/c"])
    assert memory.calls["walk_page" if deep else "list_page"] == 2


async def test_a_page_that_is_tried_again_still_says_what_follows_it(autojump_clock):
    shelf, failures = Shelf(THREE), [UnavailableError("busy")]
    ask = shelf.page_ahead

    async def failing_once(directory, marker, **more):
        answer = await ask(directory, marker, **more)
        if failures:
            raise failures.pop()
        return answer

    shelf.page_ahead = failing_once
    shelf.began, names = trio.current_time(), []
    guarded = GuardedStore(shelf, POLICY)
    await each_page(guarded, "d", lambda one, _: names.append(one.objects[0].key))
    assert names == ["a", "b", "c"]
    assert [marker for _, marker in shelf.asked].count(None) == 2
    assert [marker for _, marker in shelf.asked].count("2") == 1
    assert guarded.calls["list"] == 3
