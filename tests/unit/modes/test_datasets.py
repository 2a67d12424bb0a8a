"""Pinning: once, whole, by one of many, and then for good."""

import errno
import stat

import pytest
import trio

from mountd.aio.retry import RetryPolicy
from mountd.catalog.dataset import define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.packed_listing import read_listing
from mountd.catalog.resolve import dataset_location
from mountd.catalog.workspace import Workspace
from mountd.errors import ChangedError, CorruptError, DeadlineError, NoRoomError, NotFoundError
from mountd.modes import datasets
from mountd.modes.datasets import listing_of, open_place
from mountd.modes.download import download
from mountd.transfer.progress import Progress


@pytest.fixture
def data(tmp_path):
    directory = tmp_path / "data"
    for name in ("a", "b/c"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


@pytest.fixture
def registered(tmp_path, data):
    registry = DatasetRegistry(Workspace.init(tmp_path / "work"))
    return registry.register(define([str(data)], environ={}, cwd=tmp_path), "cifar").dataset


@pytest.fixture
def location(tmp_path, registered):
    return dataset_location(registered, workspace=Workspace(tmp_path / "work"), environ={}, cwd=tmp_path)


async def test_the_first_use_pins_and_later_ones_see_the_same(registered, location, data):
    assert not registered.listing.exists()
    first = await listing_of(location.store)
    assert stat.S_IMODE(registered.listing.stat().st_mode) == 0o600
    (data / "new").write_text("new")
    again = await listing_of(location.store)
    assert list(again.paths()) == list(first.paths()) == ["a", "b/c"]
    assert again.digest == first.digest == read_listing(registered.listing).digest
    assert [path.suffix for path in registered.listing.parent.iterdir() if path.suffix != ".yml"] == [".listing"]


async def test_of_many_who_need_it_at_once_one_takes_it(location, monkeypatch):
    taken = []
    original = datasets.list_dataset

    async def counted(*args, **options):
        taken.append(args)
        await trio.sleep(0.05)
        return await original(*args, **options)

    monkeypatch.setattr(datasets, "list_dataset", counted)
    digests = set()

    async def use():
        digests.add((await listing_of(location.store)).digest)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(use)
    assert len(taken) == len(digests) == 1


async def test_where_locks_do_nothing_one_listing_counts_all_the_same(location, data, monkeypatch):
    monkeypatch.setattr(datasets, "_try_lock", lambda _: True)
    arrived = trio.Event()
    original = datasets.list_dataset

    async def late(*args, **options):
        listing = await original(*args, **options)
        if arrived.is_set():
            return listing
        arrived.set()
        (data / "b" / "c").write_text("another version")
        await listing_of(location.store)  # another node, which is faster
        return listing

    monkeypatch.setattr(datasets, "list_dataset", late)
    listing = await listing_of(location.store)
    assert listing.version(listing.find("b/c")).size == len("another version")


async def test_a_listing_that_cannot_be_taken_leaves_nothing(location, registered, data):
    (data / "a").unlink()
    (data / "b" / "c").unlink()
    with pytest.raises(NotFoundError, match="cifar:1"):
        await listing_of(location.store)
    assert [path.suffix for path in registered.listing.parent.iterdir()] == [".yml"]
    (data / "a").write_text("a")
    assert len(await listing_of(location.store)) == 1


async def test_a_cancelled_taker_lets_the_next_one_take_it(location, monkeypatch):
    async def endless(*_args, **_options):
        await trio.sleep_forever()

    with monkeypatch.context() as patched:
        patched.setattr(datasets, "list_dataset", endless)
        with trio.move_on_after(0.05):
            await listing_of(location.store)
    assert len(await listing_of(location.store)) == 2


async def test_what_a_killed_taker_left_is_in_nobodys_way(location, registered):
    registered.listing.with_suffix(".lock").touch()
    (registered.listing.parent / f".{registered.listing.name}.x.part").write_bytes(b"half of a listing")
    assert len(await listing_of(location.store)) == 2
    assert not registered.listing.with_suffix(".lock").exists()


async def test_a_directory_that_cannot_be_written_to_is_named(location, registered, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(datasets, "write_file", full)
    with pytest.raises(NoRoomError, match=r"\.listing: No space"):
        await listing_of(location.store)
    assert not registered.listing.exists()


async def test_a_damaged_listing_is_never_taken_anew(location, registered):
    await listing_of(location.store)
    registered.listing.write_bytes(registered.listing.read_bytes()[:-1])
    with pytest.raises(CorruptError, match=r"\.listing: is damaged"):
        await listing_of(location.store)


async def test_one_that_nobody_keeps_is_listed_each_time(tmp_path, data):
    definition = define([str(data / "*")], environ={}, cwd=tmp_path)
    location = dataset_location(definition, workspace=None, environ={}, cwd=tmp_path)
    assert list((await listing_of(location.store)).paths()) == ["a"]
    (data / "z").write_text("z")
    assert list((await listing_of(location.store)).paths()) == ["a", "z"]


async def test_an_opened_dataset_gives_its_bytes_or_says_what_changed(location, data):
    store, listing = await open_place(location, RetryPolicy())
    assert listing is not None
    assert bytes((await store.read("b/c", 0, 9, if_match=None)).data) == b"b/c"
    (data / "b" / "c").write_text("B/C")
    with pytest.raises(ChangedError, match="b/c: was replaced"):
        await store.read("b/c", 0, 9, if_match=None)
    await store.aclose()


async def test_a_listing_that_takes_too_long_says_how_far_it_was(location, registered, monkeypatch):
    async def slow(_spec, _stores, *, progress):
        progress(1000)
        await trio.sleep_forever()

    monkeypatch.setattr(datasets, "list_dataset", slow)
    with pytest.raises(
        DeadlineError, match=r"cifar:1: 1000 files were listed within 1 s.*`mountd dataset show cifar:1"
    ):
        await open_place(location, RetryPolicy(), within_s=1.0)
    assert not registered.listing.exists()


async def test_copies_and_mounts_of_a_dataset_may_lie_beside_its_files(location, data):
    report = await download(location, data / "out", overwrite=False, progress=Progress())
    assert report.files == 2
    assert (data / "out" / "b" / "c").read_text() == "b/c"
