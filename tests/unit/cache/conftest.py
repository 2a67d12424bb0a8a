import pytest

from mountd.cache.block_cache import BlockCache
from mountd.cache.version import never
from mountd.units import MIB
from tests.support.remote_versions import Remote


@pytest.fixture
def remote():
    return Remote()


@pytest.fixture(params=[False, True], ids=["", "begun"])
def make_cache(nursery, remote, request):
    """Makes caches that fetch in tasks of theirs, and such that begin to fetch where they can."""

    def make(limit=64 * MIB):
        remote.tries = 2 if request.param else 1
        begin = remote.begin_in(nursery) if request.param else never
        remote.cache = BlockCache(remote, nursery, limit_bytes=limit, begin=begin)
        return remote.cache

    return make
