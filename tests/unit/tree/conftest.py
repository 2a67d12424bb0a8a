import pytest

from tests.support.slow_tree import TTL, Tree


@pytest.fixture
def tree(nursery):
    return Tree(nursery, TTL, "")


@pytest.fixture
def make_tree(nursery):
    return lambda ttl_s=TTL, root_key="": Tree(nursery, ttl_s, root_key)
