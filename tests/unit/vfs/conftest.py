import pytest

from tests.support.memory_mount import MemoryMount


@pytest.fixture
def make_mount(nursery):
    return lambda **options: MemoryMount(nursery, **options)


@pytest.fixture
def mount(make_mount):
    return make_mount()
