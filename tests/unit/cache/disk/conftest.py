import pytest

from mountd.cache.disk import tier, writer
from tests.support.disk_cache import open_cache


@pytest.fixture
def cache(tmp_path):
    cache = open_cache(tmp_path / "cache")
    yield cache
    cache.close()


@pytest.fixture
def quick(monkeypatch):
    """Let a tier look after its disk, and try one in trouble again, within moments."""
    monkeypatch.setattr(tier, "UPKEEP_EVERY_S", 0.05)
    monkeypatch.setattr(writer, "FULL_S", 0.05)
    monkeypatch.setattr("mountd.cache.disk.breaker.FIRST_PAUSE_S", 0.05)
