"""Datasets over memory stores."""

from mountd.catalog.model import BlobSpec, DatasetSource, DatasetSpec
from mountd.catalog.packed_listing import PackedListing
from mountd.stores.dataset import DatasetStore
from mountd.stores.dataset_listing import list_dataset


def spec_of(*sources, stores=1, steps=(), name="cifar:1"):
    """Return the dataset of `(store, path, pattern)` or paths of store 0; the stores are containers `c00`, `c01`…"""
    full = [(0, source, "") if isinstance(source, str) else source for source in sources]
    return DatasetSpec(
        name=name,
        stores=tuple(
            BlobSpec(account_name="acct", container=f"c{number:02}", account_url="https://acct.blob.core.windows.net")
            for number in range(stores)
        ),
        sources=tuple(
            DatasetSource(store=store, path=path, pattern=pattern, text=f"source {index}")
            for index, (store, path, pattern) in enumerate(full)
        ),
        steps=tuple(steps),
    )


async def pinned(spec, *stores, progress=None):
    """Return the listing that is taken of `stores` now."""
    return PackedListing(await list_dataset(spec, stores, progress=progress), "test")


async def dataset_store(spec, *stores, **options):
    """Return the dataset as a store, pinned now."""
    places = [lambda key, number=number: (f"id{number}", key) for number in range(len(stores))]
    return DatasetStore(spec.name, await pinned(spec, *stores), stores, places, **options)
