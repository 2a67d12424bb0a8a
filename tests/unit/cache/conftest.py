import pytest

from mountd.cache.block_cache import BlockCache
from mountd.units import MIB
from tests.support.remote_versions import Remote


@pytest.fixture
def remote():
    return Remote()


@pytest.fixture
def make_cache(nursery, remote):
    def make(limit=64 * MIB):
        remote.cache = BlockCache(remote, nursery, limit_bytes=limit)
        return remote.cache

    return make
