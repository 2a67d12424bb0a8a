"""The stores that the contract suite compares: how to open each, and how to change what is in it from outside."""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import quote

import pytest
import trio
from azure.storage.blob import ContainerClient

from mountd.catalog.model import BlobSpec, WebFile, WebSpec
from mountd.stores.azure_blob import AzureBlobStore
from mountd.stores.base import Store
from mountd.stores.local import LocalStore
from mountd.stores.memory import MemoryStore
from mountd.stores.web import WebStore
from tests.support.azurite import AzuriteContainer
from tests.support.nginx import Nginx

FLAT_KINDS = (
    "memory",
    pytest.param("azure_blob", marks=pytest.mark.azurite),
    pytest.param("azure_blob_sas", marks=pytest.mark.azurite),
)
"""Stores where any key may be beside any other: `odd` and `odd/child`, `a//b`, markers."""
WRITABLE_KINDS = (*FLAT_KINDS, "local")
WEB_KINDS = {"web": "plain", "web_whole": "bare"}
"""Files on nginx, once with parts and versions, once with neither; the values are names of `nginx.SERVERS`."""

flat_only = pytest.mark.parametrize("backend", FLAT_KINDS, indirect=True)
"""For keys beside each other that a directory tree cannot hold."""
writable = pytest.mark.parametrize("backend", WRITABLE_KINDS, indirect=True)
"""For what is written through the store, and for directories that nothing lies below."""

S = TypeVar("S", bound=Store)
_directories = itertools.count(1)


class Backend(Protocol):
    """One kind of store under test. All changes happen at once and behind the store's back."""

    kind: str
    flat: bool
    """It is one of `FLAT_KINDS`."""

    def open(self, *, page_limit: int = 5000) -> Store:
        """Return a store on the same objects."""

    def set(self, key: str, data: bytes) -> None:
        """Create or replace an object."""

    def set_marker(self, key: str) -> None:
        """Create an empty object that marks the directory `key` by metadata, or by being one."""

    def delete(self, key: str) -> None:
        """Delete an object."""


class MemoryBackend:
    kind = "memory"
    flat = True

    def __init__(self) -> None:
        self._store = MemoryStore(part_bytes=8 << 20)

    def open(self, *, page_limit: int = 5000) -> Store:
        self._store.page_limit = page_limit
        return self._store

    def set(self, key: str, data: bytes) -> None:
        self._store.set(key, data)

    def set_marker(self, key: str) -> None:
        self._store.set_directory_marker(key)

    def delete(self, key: str) -> None:
        self._store.delete(key)


class LocalBackend:
    kind = "local"
    flat = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def open(self, *, page_limit: int = 5000) -> Store:
        return LocalStore(str(self.directory), page_limit=page_limit)

    def set(self, key: str, data: bytes) -> None:
        path = self.directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def set_marker(self, key: str) -> None:
        (self.directory / key).mkdir(parents=True, exist_ok=True)

    def delete(self, key: str) -> None:
        os.unlink(self.directory / key)


class AzureBackend:
    flat = True

    def __init__(self, kind: str, client: ContainerClient, spec: BlobSpec) -> None:
        self.kind = kind
        self._client = client
        self._spec = spec

    def open(self, *, page_limit: int = 5000) -> Store:
        return AzureBlobStore(self._spec, page_limit=page_limit)

    def set(self, key: str, data: bytes) -> None:
        self._client.get_blob_client(key).upload_blob(data, overwrite=True)

    def set_marker(self, key: str) -> None:
        self._client.get_blob_client(key).upload_blob(b"", overwrite=True, metadata={"hdi_isfolder": "true"})

    def delete(self, key: str) -> None:
        self._client.get_blob_client(key).delete_blob()


class WebBackend:
    flat = False

    def __init__(self, kind: str, nginx: Nginx, name: str) -> None:
        self.kind = kind
        self._directory = nginx.root / name
        self._directory.mkdir()
        self._url = f"{nginx.urls[WEB_KINDS[kind]]}/{name}"
        self._clock = int(time.time()) - 1_000_000
        self.files: dict[str, WebFile] = {}

    def open(self, *, page_limit: int = 200) -> Store:
        return GrowingWebStore(self, page_limit)

    def set(self, key: str, data: bytes) -> None:
        path = self._directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        new = self._directory / ".new"
        new.write_bytes(data)
        self._clock += 1  # nginx makes its ETag of size and whole seconds
        os.utime(new, (self._clock, self._clock))
        new.replace(path)
        self.files[key] = WebFile(key=key, url=f"{self._url}/{quote(key)}")

    def set_marker(self, key: str) -> None:
        raise NotImplementedError("the web knows no directories")

    def delete(self, key: str) -> None:
        os.unlink(self._directory / key)


class GrowingWebStore:
    """A web store that knows every file which its backend ever had; a real one knows its files from the start."""

    def __init__(self, backend: WebBackend, page_limit: int) -> None:
        self._backend = backend
        self._page_limit = page_limit
        self._stores: dict[int, WebStore] = {}

    def _now(self) -> WebStore:
        files = tuple(self._backend.files.values())
        if len(files) not in self._stores:
            self._stores[len(files)] = WebStore(WebSpec(name="web", files=files), page_limit=self._page_limit)
        return self._stores[len(files)]

    def __getattr__(self, name: str) -> object:
        return getattr(self._now(), name)

    async def aclose(self) -> None:
        for store in self._stores.values():
            await store.aclose()


@pytest.fixture
def closing() -> Iterator[Callable[[S], S]]:
    """Call it with a store to have that closed after the test."""
    opened: list[Store] = []

    def remember(store: S) -> S:
        opened.append(store)
        return store

    yield remember
    for store in opened:
        trio.run(store.aclose)


@pytest.fixture(params=[*WRITABLE_KINDS, *WEB_KINDS])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Each kind of store in turn, empty."""
    with ExitStack() as stack:
        if request.param == "memory":
            yield MemoryBackend()
        elif request.param == "local":
            yield LocalBackend(tmp_path)
        elif request.param in WEB_KINDS:
            yield WebBackend(request.param, request.getfixturevalue("nginx"), f"contract-{next(_directories)}")
        else:
            container: AzuriteContainer = request.getfixturevalue("azurite_container")
            spec = container.spec() if request.param == "azure_blob" else container.sas_spec()
            yield AzureBackend(request.param, stack.enter_context(container.client), spec)


@pytest.fixture
def open_store(backend: Backend, closing: Callable[[Store], Store]) -> Callable[..., Store]:
    """Opens stores on the backend: `open_store(page_limit=3)`."""
    return lambda **options: closing(backend.open(**options))


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    """A store of each kind, with its usual page size."""
    return open_store()
