"""What is in a dataset: sources of every kind, patterns, steps, and what is wrong with them."""

import msgspec
import pytest

from mountd.catalog.model import Sas
from mountd.catalog.packed_listing import Member
from mountd.catalog.selection import Filter, Part, Skip, Take
from mountd.errors import NotFoundError, UnavailableError
from mountd.stores.memory import MemoryStore
from tests.support.datasets import pinned, spec_of
from tests.support.slow_store import SlowStore


@pytest.fixture
def store():
    made = MemoryStore(page_limit=3)
    for key in (
        *("a.txt", "set/train/0.jpg", "set/train/1.jpg", "set/train/x/2.jpg", "set/train/x/3.png"),
        *("set/test/0.jpg", "set/table.csv", "set/year-1/a.jpg", "set/year-2/a.jpg", "set/year-2/b/a.jpg"),
    ):
        made.set(key, key.encode())
    made.set_directory_marker("set/empty")
    return made


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("set/train", ["0.jpg", "1.jpg", "x/2.jpg", "x/3.png"]),
        ("set/table.csv", ["table.csv"]),
        ("a.txt", ["a.txt"]),
        ((0, "set", "*.csv"), ["table.csv"]),
        ((0, "set", "year-*/*.jpg"), ["year-1/a.jpg", "year-2/a.jpg"]),
        ((0, "", "**/a.jpg"), ["set/year-1/a.jpg", "set/year-2/a.jpg", "set/year-2/b/a.jpg"]),
        ((0, "set", "year-*/**/a.jpg"), ["year-1/a.jpg", "year-2/a.jpg", "year-2/b/a.jpg"]),
        ((0, "set/train", "**"), ["0.jpg", "1.jpg", "x/2.jpg", "x/3.png"]),
        ((0, "set/train", "*"), ["0.jpg", "1.jpg"]),
        ((0, "", "set/t*/0.jpg"), ["set/test/0.jpg", "set/train/0.jpg"]),
    ],
)
async def test_one_source(store, source, expected):
    listing = await pinned(spec_of(source), store)
    assert sorted(listing.paths()) == expected
    for file, path in enumerate(listing.paths()):
        member = listing.member(file, path)
        info = await store.stat(member.key)
        assert listing.version(file) == (info.size, info.mtime_ns, info.etag)
    single = source in {"set/table.csv", "a.txt"}
    assert listing.single_file == (expected[0] if single else None)


async def test_the_whole_of_a_store(store):
    assert len(await pinned(spec_of(""), store)) == 10


async def test_several_sources_of_one_store(store):
    listing = await pinned(spec_of("set/train", "set/test", "set/table.csv", (0, "set/train", "x/*")), store)
    assert sorted(listing.paths()) == [
        *("table.csv", "test/0.jpg", "train/0.jpg", "train/1.jpg", "train/x/2.jpg", "train/x/3.png"),
    ]
    assert listing.single_file is None


async def test_sources_of_two_stores(store):
    other = MemoryStore()
    other.set("set/train/0.jpg", b"other")
    listing = await pinned(spec_of((0, "set/test", ""), (1, "set/train", ""), stores=2), store, other)
    assert list(listing.paths()) == ["c00/set/test/0.jpg", "c01/set/train/0.jpg"]
    assert listing.member(1, "c01/set/train/0.jpg") == Member(1, "set/train/0.jpg")
    assert list(listing.runtime_paths()) == [
        "/https%3A/%2Facct.blob.core.windows.net/c00/set/test/0.jpg",
        "/https%3A/%2Facct.blob.core.windows.net/c01/set/train/0.jpg",
    ]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([Take(2)], ["test/0.jpg", "train/0.jpg"]),
        ([Skip(2), Take(1)], ["train/1.jpg"]),
        ([Filter(["==", "Extension", ".png"])], ["train/x/3.png"]),
    ],
)
async def test_steps_see_the_files_source_by_source(store, steps, expected):
    listing = await pinned(spec_of("set/test", "set/train", steps=steps), store)
    assert sorted(listing.paths()) == expected


async def test_the_parts_of_a_split_are_the_whole(store):
    parts = [await pinned(spec_of("set", steps=[part]), store) for part in (Part(0, 0.5, 3), Part(0.5, 1, 3))]
    assert sorted(path for part in parts for path in part.paths()) == sorted(
        (await pinned(spec_of("set"), store)).paths()
    )


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (spec_of("set/train", "missing"), "cifar:1: source 1: "),
        (spec_of((0, "set", "*.xyz")), "cifar:1: source 0: no file matches"),
        (spec_of("set/empty"), "cifar:1: source 0: there are no files"),
        (spec_of("set", steps=[Skip(100)]), "no file is left"),
    ],
)
async def test_what_is_not_there_is_named(store, spec, why):
    with pytest.raises(NotFoundError) as caught:
        await pinned(spec, store)
    assert why in caught.value.message


async def test_one_place_with_two_credentials_shows_each_object_once(store):
    spec = spec_of((0, "set/train", ""), (1, "set/train", "x/*"), stores=2)
    one = spec.stores[0]
    spec = msgspec.structs.replace(spec, stores=(one, msgspec.structs.replace(one, credential=Sas("sig=x"))))
    assert sorted((await pinned(spec, store, store)).paths()) == ["0.jpg", "1.jpg", "x/2.jpg", "x/3.png"]


async def test_names_that_no_path_can_express_are_counted():
    store = MemoryStore()
    for key in ("d/a//b", "d/odd", "d/odd/child", "d/fine", "d/x/..", "d/marker", "d/marker/child"):
        store.set(key, b"" if key == "d/marker" else b"x")
    listing = await pinned(spec_of("d"), store)
    assert sorted(listing.paths()) == ["fine", "marker/child", "odd/child"]
    assert {hidden.path for hidden in listing.header.hidden} == {"a//b", "odd", "x/.."}
    with pytest.raises(NotFoundError, match="no file that a path can show"):
        await pinned(spec_of("d/a"), store)


async def test_a_store_that_fails_is_named(store, autojump_clock):
    broken = SlowStore(store)

    async def down(*_):
        raise UnavailableError("down")

    broken.fault = down
    with pytest.raises(UnavailableError, match="cifar:1: source 0: down"):
        await pinned(spec_of("set"), broken)


async def test_progress_is_told(store):
    seen = []
    await pinned(spec_of("set/train", "set/test"), store, progress=seen.append)
    assert seen[-1] == 5
    assert seen == sorted(seen)
