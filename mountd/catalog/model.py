"""What a SOURCE or TARGET comes down to: a store to open and a path in it.

Plain values that travel to worker processes as JSON over a pipe. Credentials are the only secrets, and their `repr`
never shows them.
"""

from pathlib import Path

import msgspec

from mountd.catalog.selection import Step


class AccountKey(msgspec.Struct, frozen=True, tag="account_key"):
    """A storage account's shared key, base64."""

    key: str

    def __repr__(self) -> str:
        return "AccountKey(***)"


class Sas(msgspec.Struct, frozen=True, tag="sas"):
    """A shared access signature: a query string without the leading `?`."""

    token: str

    def __repr__(self) -> str:
        return "Sas(***)"


class Anonymous(msgspec.Struct, frozen=True, tag="anonymous"):
    """No credential: a public container."""


Credential = AccountKey | Sas | Anonymous


class BlobSpec(msgspec.Struct, frozen=True, kw_only=True, tag="azure_blob"):
    """A Blob container."""

    account_name: str
    container: str
    account_url: str
    """Without a trailing slash: `https://acct.blob.core.windows.net`, `http://127.0.0.1:10000/devstoreaccount1`."""
    credential: Credential = Anonymous()


class LocalSpec(msgspec.Struct, frozen=True, kw_only=True, tag="local"):
    """A directory of this node."""

    path: str
    """Absolute."""


class WebFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file on a web server."""

    key: str
    """Where the store shows it: a relative path without empty, `.` and `..` segments."""
    url: str
    """As it is requested. May hold a password in front of the host, and a token of any name in the query."""

    def __repr__(self) -> str:
        return f"WebFile(key={self.key!r}, url=***)"


class WebSpec(msgspec.Struct, frozen=True, kw_only=True, tag="web"):
    """Files on web servers, of one host or many; made by `catalog.web_url.web_spec`."""

    name: str
    """For people, without secrets."""
    files: tuple[WebFile, ...]
    """Keys are unique, and none is a directory of another."""


LeafSpec = BlobSpec | LocalSpec | WebSpec


class DatasetSource(msgspec.Struct, frozen=True, kw_only=True):
    """One path of a dataset: a place in one of its stores."""

    store: int
    """Index in `DatasetSpec.stores`."""
    path: str
    """As in `Location`; with a pattern, the directory that is searched."""
    pattern: str = ""
    """What to look for below `path`, as `catalog.pattern` reads it; "" for all of it."""
    is_file: bool = False
    """It must be one file."""
    is_folder: bool = False
    """It must be a directory. Neither: it is what is found there."""
    text: str
    """As it was written, with secrets redacted: for messages."""


class DatasetSpec(msgspec.Struct, frozen=True, kw_only=True, tag="dataset"):
    """The files of a dataset, of one or several stores.

    Small, however many files there are: a pinned listing stays in its file.
    """

    name: str
    """For people: `cifar:1`, or what was written. No secrets."""
    stores: tuple[LeafSpec, ...]
    """Each once, in the order in which the sources name them."""
    sources: tuple[DatasetSource, ...]
    """None once they are listed and pinned: there may be thousands."""
    steps: tuple[Step, ...] = ()
    listing: str | None = None
    """The file that the listing is pinned in, or will be by whoever needs it first; None: listed for each use."""


StoreSpec = LeafSpec | DatasetSpec


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a store: the whole of it, a directory, or one object."""

    store: StoreSpec
    path: str
    """Key or directory without leading or trailing slashes; "" is the root."""
    source: str
    """What the user wrote, with secrets redacted: for messages and status."""
    attr_ttl_s: float | None = None
    """The datastore's own `blob_cache_timeout`, seconds, if it has one."""


def known_to_be_pinned(location: Location) -> Location:
    """Return `location` for use after the listing of its dataset was pinned; what is no kept dataset stays as it is."""
    store = location.store
    if not isinstance(store, DatasetSpec) or store.listing is None:
        return location
    return msgspec.structs.replace(location, store=msgspec.structs.replace(store, sources=()))


def local_directories(location: Location) -> list[Path]:
    """Return the directories of this node that `location` shows, or shows files of; none for storage elsewhere."""
    store = location.store
    if isinstance(store, DatasetSpec):
        places = [(store.stores[source.store], source.path) for source in store.sources]
        return [Path(spec.path, path) for spec, path in places if isinstance(spec, LocalSpec)]
    return [Path(store.path, location.path)] if isinstance(store, LocalSpec) else []
