"""Takes the listing of a dataset: what each of its sources is, where its files show up, and which versions are there.

Sources are looked at and listed side by side. The steps of a dataset see its files source by source, those of each
source sorted by path. A pattern lists no more than it must: up to its first `**` only the directories that its
segments stand for are entered.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from mountd.aio.threads import Lane
from mountd.catalog.layout import Place, label, lay_out
from mountd.catalog.listing_builder import ListingBuilder
from mountd.catalog.model import DatasetSource, DatasetSpec
from mountd.catalog.packed_listing import PackedSource
from mountd.catalog.pattern import Pattern
from mountd.catalog.selection import Candidate, select
from mountd.errors import IsDirectoryError, MountdError, NotFoundError, UsageError
from mountd.stores.base import ObjectInfo, Page, Store
from mountd.stores.open import probe
from mountd.stores.pages import each_page

AT_ONCE = 32
"""Sources that are looked at or listed at the same time."""


async def list_dataset(
    spec: DatasetSpec, stores: Sequence[Store], *, progress: Callable[[int], None] | None = None
) -> bytes:
    """Return the packed listing of a dataset.

    Args:
        spec: the dataset.
        stores: its stores, in its order.
        progress: is told how many files were found so far.

    Raises:
        NotFoundError: a source is not there, or none of its files is.
        UsageError: two sources show different objects at one path.
        MountdError: a store cannot be asked; names the source.
    """
    places = await _look_at_all(spec, stores)
    packed = lay_out(places, spec.stores)
    builder = ListingBuilder(packed, [source.text for source in spec.sources], [label(store) for store in spec.stores])
    taker = _Taker(spec, stores, places, packed, progress)
    if spec.steps:
        for candidate in select(await taker.all_in_order(), spec.steps):
            builder.add(*candidate)
        if not builder.files:
            raise NotFoundError(f"{spec.name}: no file is left after its steps")
    else:
        await taker.feed(builder)
    if not builder.files:
        raise NotFoundError(f"{spec.name}: has no file that a path can show")
    single = len(places) == 1 and places[0].is_file
    return await Lane("listing", 1).run(lambda: builder.build(single_file=single))


async def _look_at_all(spec: DatasetSpec, stores: Sequence[Store]) -> list[Place]:
    places: dict[int, Place] = {}

    async def look(index: int, source: DatasetSource) -> None:
        is_file = source.is_file
        if not source.pattern and not is_file and source.path:
            is_file = await probe(stores[source.store], source.path) == "file"
        if is_file and source.is_folder:
            raise UsageError(
                f"{spec.name}: {source.text}: is a file; type: uri_folder takes a directory, uri_file a file"
            )
        places[index] = Place(source.store, source.path, is_file)

    await _side_by_side(spec, look)
    return [places[index] for index in range(len(spec.sources))]


class _Taker:
    """Lists the sources of one dataset."""

    def __init__(
        self,
        spec: DatasetSpec,
        stores: Sequence[Store],
        places: Sequence[Place],
        packed: Sequence[PackedSource],
        progress: Callable[[int], None] | None,
    ) -> None:
        self._spec = spec
        self._stores = stores
        self._places = places
        self._packed = packed
        self._progress = progress
        self._found = 0

    async def feed(self, builder: ListingBuilder) -> None:
        """Add all files to `builder`, page by page."""

        def add(_index: int, candidates: list[Candidate]) -> None:
            for candidate in candidates:
                builder.add(*candidate)

        await self._take(add)

    async def all_in_order(self) -> list[Candidate]:
        """Return all files, those of the first source first, each source's by path."""
        found: list[list[Candidate]] = [[] for _ in self._places]
        await self._take(lambda index, candidates: found[index].extend(candidates))
        return [candidate for part in found for candidate in sorted(part)]

    async def _take(self, take: Callable[[int, list[Candidate]], None]) -> None:
        async def one(index: int, source: DatasetSource) -> None:
            counts[index] = 0

            def keep(infos: list[ObjectInfo]) -> None:
                counts[index] += len(infos)
                self._found += len(infos)
                take(index, self._candidates(index, infos))
                if self._progress is not None:
                    self._progress(self._found)

            await self._list(index, source, keep)
            if not counts[index]:
                what = "no file matches" if source.pattern else "there are no files"
                raise NotFoundError(what)

        counts: dict[int, int] = {}
        await _side_by_side(self._spec, one)

    async def _list(self, index: int, source: DatasetSource, keep: Callable[[list[ObjectInfo]], None]) -> None:
        place = self._places[index]
        store = self._stores[place.store]
        if place.is_file:
            keep([await store.stat(place.path)])
        elif source.pattern:
            await _Search(store, place.path, Pattern(source.pattern), keep).run()
        else:
            await each_page(store, place.path, lambda page, _asked_at: keep(page.objects), deep=True)

    def _candidates(self, index: int, infos: list[ObjectInfo]) -> list[Candidate]:
        packed = self._packed[index]
        shown, cut = packed.shown, len(packed.key)
        return [Candidate(shown + key[cut:], index, size, mtime_ns, etag) for key, size, mtime_ns, etag in infos]


class _Search:
    """Finds what one pattern stands for below a directory."""

    def __init__(self, store: Store, base: str, pattern: Pattern, keep: Callable[[list[ObjectInfo]], None]) -> None:
        self._store = store
        self._cut = len(base) + 1 if base else 0
        self._base = base
        self._pattern = pattern
        self._keep = keep
        self._limiter = trio.CapacityLimiter(AT_ONCE)

    async def run(self) -> None:
        """Hand over all files."""
        await self._search([self._base], 0)

    async def _search(self, directories: list[str], index: int) -> None:
        """Search `directories`, all of which the first `index` segments stand for."""
        deeper: list[str] = []
        search = self._search_below if index == self._pattern.plain_depth else self._search_in
        await _together([partial(search, directory, index, deeper) for directory in directories])
        if deeper:
            await self._search(sorted(deeper), index + 1)

    async def _search_below(self, directory: str, _index: int, _deeper: list[str]) -> None:
        async with self._limiter:
            await each_page(self._store, directory, self._keep_matching, deep=True)

    async def _search_in(self, directory: str, index: int, deeper: list[str]) -> None:
        matches, last = self._pattern.step_matches, index == self._pattern.depth - 1

        def look(page: Page, _asked_at: float) -> None:
            if last:
                self._keep([info for info in page.objects if matches(index, info.key.rpartition("/")[2])])
            else:
                deeper.extend(key for key in page.directories if matches(index, key.rpartition("/")[2]))

        async with self._limiter:
            await each_page(self._store, directory, look)

    def _keep_matching(self, page: Page, _asked_at: float) -> None:
        matches, cut = self._pattern.matches, self._cut
        self._keep([info for info in page.objects if matches(info.key[cut:])])


async def _side_by_side(spec: DatasetSpec, work: Callable[[int, DatasetSource], Awaitable[None]]) -> None:
    """Run `work` for each source; a failure names the dataset and the source."""
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(index: int, source: DatasetSource) -> None:
        async with limiter:
            try:
                await work(index, source)
            except UsageError:
                raise  # names its sources itself
            except MountdError as error:
                what = spec.name if spec.name == source.text else f"{spec.name}: {source.text}"
                raise _as(error, f"{what}: {error.message}") from error

    await _together([partial(one, index, source) for index, source in enumerate(spec.sources)])


def _as(error: MountdError, message: str) -> MountdError:
    kind = NotFoundError if isinstance(error, IsDirectoryError) else type(error)
    return kind(message)


async def _together(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run all `works` at once; the first failure ends the others and comes out as it is, in no group."""
    failures: list[MountdError] = []

    async with trio.open_nursery() as nursery:

        async def run(work: Callable[[], Awaitable[None]]) -> None:
            try:
                await work()
            except MountdError as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        for work in works:
            nursery.start_soon(run, work)
    if failures:
        raise failures[0]
