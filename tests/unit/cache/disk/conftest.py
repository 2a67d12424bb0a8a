import pytest

from tests.support.disk_cache import open_cache


@pytest.fixture
def cache(tmp_path):
    cache = open_cache(tmp_path / "cache")
    yield cache
    cache.close()
