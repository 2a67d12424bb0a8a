"""From a description to a store that can be relied on."""

from typing import Literal

from mountd.aio.retry import RetryPolicy
from mountd.catalog.model import BlobSpec, DatasetSpec, LeafSpec, LocalSpec, StoreSpec, WebSpec
from mountd.catalog.packed_listing import PackedListing
from mountd.catalog.store_identity import store_identity
from mountd.errors import DeniedError, IsDirectoryError, NotFoundError, UsageError
from mountd.stores.azure_blob import AzureBlobStore
from mountd.stores.azure_place import Timeouts
from mountd.stores.base import Store
from mountd.stores.dataset import CachePlaces, DatasetStore
from mountd.stores.guarded import GuardedStore
from mountd.stores.local import LocalStore
from mountd.stores.web import WebStore


def open_store(spec: StoreSpec, *, policy: RetryPolicy | None = None) -> GuardedStore:
    """Return the store that `spec` describes, with deadlines and retries; nothing is sent yet.

    Raises:
        DeniedError: the credential is malformed.
        UsageError: it is a dataset, for which `open_dataset` needs its listing.
    """
    policy = policy or RetryPolicy()
    if isinstance(spec, DatasetSpec):
        raise UsageError(f"{spec.name}: is a dataset; name the path in a datastore that is meant")
    return GuardedStore(_open_bare(spec, policy), policy)


def open_dataset(spec: DatasetSpec, listing: PackedListing, *, policy: RetryPolicy | None = None) -> GuardedStore:
    """Return the store that shows the files of `listing`, which is the one of `spec`; otherwise as `open_store`."""
    policy = policy or RetryPolicy()
    members = [_open_bare(member, policy) for member in spec.stores]
    places = [_cache_places(member, store) for member, store in zip(spec.stores, members, strict=True)]
    return GuardedStore(DatasetStore(spec.name, listing, members, places), policy)


def _cache_places(spec: LeafSpec, store: Store) -> CachePlaces:
    if isinstance(store, WebStore):
        return store.cache_place
    identity = store_identity(spec)
    return lambda key: (identity, key)


def _open_bare(spec: LeafSpec, policy: RetryPolicy) -> Store:
    # A call that nobody waits for any more is over when its caller's deadline is.
    timeouts = Timeouts(stall_s=min(Timeouts().stall_s, policy.deadline_s), total_s=policy.deadline_s)
    match spec:
        case BlobSpec():
            return AzureBlobStore(spec, timeouts=timeouts)
        case WebSpec():
            return WebStore(spec, timeouts=timeouts)
        case LocalSpec():
            return LocalStore(spec.path)


_PROBED = 100
"""Entries of a page by which it is seen whether a store answers. Azurite takes longer for a page the less it is to
hold: for one of 10,000 blobs below a few prefixes 10 s, for a hundred 0.2 s."""


async def probe(store: Store, path: str) -> Literal["directory", "file"]:
    """Return what `path` ("" for the whole store) is; where a name is both, the directory counts.

    Raises:
        NotFoundError: the container or the path does not exist.
        DeniedError: the credential does not allow to look.
        UnavailableError: the store cannot be reached.
    """
    if not path:
        await store.list_page("", limit=_PROBED)
        return "directory"
    denied: DeniedError | None = None
    try:
        if await store.is_directory(path):
            return "directory"
    except DeniedError as error:
        denied = error  # a SAS for one blob may read it and list nothing
    try:
        await store.stat(path)
    except IsDirectoryError:
        return "directory"
    except NotFoundError:
        if denied is not None:
            raise denied from None
    else:
        return "file"
    await store.list_page("", limit=_PROBED)  # what is missing: the path, or all of the store?
    raise NotFoundError(f"{store.name}: no file or directory '{path}' in it; check the path")
