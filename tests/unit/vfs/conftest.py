import pytest

from tests.support.memory_mount import MemoryMount


@pytest.fixture(params=[None, lambda: True], ids=["", "quick"])
def make_mount(nursery, request):
    """Makes mounts that fetch by tasks only, and such that do without where they can."""
    return lambda **options: MemoryMount(nursery, quick=request.param, **options)


@pytest.fixture
def mount(make_mount):
    return make_mount()
