import pytest

from mountd.stores.memory import MemoryStore
from tests.support.downloads import BIG


@pytest.fixture
def target(tmp_path):
    return tmp_path / "target"


@pytest.fixture
def store():
    store = MemoryStore(clock=lambda: 1_600_000_000_000_000_000)
    store.set("data/a", b"a" * 10)
    store.set("data/sub/big", BIG)
    store.set("data/sub/empty", b"")
    store.set_directory_marker("data/void")
    store.set("other", b"o")
    return store
