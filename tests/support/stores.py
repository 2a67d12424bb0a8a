"""The stores that the contract suite compares: how to open each, and how to change what is in it from outside."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
import trio
from azure.storage.blob import ContainerClient

from mountd.catalog.model import BlobSpec
from mountd.stores.azure_blob import AzureBlobStore
from mountd.stores.base import Store
from mountd.stores.local import LocalStore
from mountd.stores.memory import MemoryStore
from tests.support.azurite import AzuriteContainer

FLAT_KINDS = (
    "memory",
    pytest.param("azure_blob", marks=pytest.mark.azurite),
    pytest.param("azure_blob_sas", marks=pytest.mark.azurite),
)
"""Stores where any key may be beside any other: `odd` and `odd/child`, `a//b`, markers."""

S = TypeVar("S", bound=Store)


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


@pytest.fixture(params=[*FLAT_KINDS, "local"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Each kind of store in turn, empty."""
    with ExitStack() as stack:
        if request.param == "memory":
            yield MemoryBackend()
        elif request.param == "local":
            yield LocalBackend(tmp_path)
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
