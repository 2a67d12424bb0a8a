"""From a description to a store that can be relied on."""

from typing import Literal

from mountd.aio.retry import RetryPolicy
from mountd.catalog.model import BlobSpec, LocalSpec, StoreSpec, WebSpec
from mountd.errors import DeniedError, IsDirectoryError, NotFoundError
from mountd.stores.azure_blob import AzureBlobStore
from mountd.stores.azure_place import Timeouts
from mountd.stores.base import Store
from mountd.stores.guarded import GuardedStore
from mountd.stores.local import LocalStore
from mountd.stores.web import WebStore


def open_store(spec: StoreSpec, *, policy: RetryPolicy | None = None) -> GuardedStore:
    """Return the store that `spec` describes, with deadlines and retries; nothing is sent yet.

    Raises:
        DeniedError: the credential is malformed.
    """
    policy = policy or RetryPolicy()
    # A call that nobody waits for any more is over when its caller's deadline is.
    timeouts = Timeouts(stall_s=min(Timeouts().stall_s, policy.deadline_s), total_s=policy.deadline_s)
    match spec:
        case BlobSpec():
            return GuardedStore(AzureBlobStore(spec, timeouts=timeouts), policy)
        case WebSpec():
            return GuardedStore(WebStore(spec, timeouts=timeouts), policy)
        case LocalSpec():
            return GuardedStore(LocalStore(spec.path), policy)


async def probe(store: Store, path: str) -> Literal["directory", "file"]:
    """Return what `path` ("" for the whole store) is; where a name is both, the directory counts.

    Raises:
        NotFoundError: the container or the path does not exist.
        DeniedError: the credential does not allow to look.
        UnavailableError: the store cannot be reached.
    """
    if not path:
        await store.list_page("", limit=1)
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
    await store.list_page("", limit=1)  # what is missing: the path, or all of the store?
    raise NotFoundError(f"{store.name}: no file or directory '{path}' in it; check the path")
