import pytest
import trio.testing

from tests.support.direct_kernel import Kernel


@pytest.fixture
def unserved(nursery):
    """Nothing reads its requests yet."""
    found = Kernel(nursery)
    yield found
    found.close()


@pytest.fixture
async def kernel(unserved, nursery):
    nursery.start_soon(unserved.engine.serve)
    await unserved.init()
    yield unserved
    unserved.engine.request_stop()
    await trio.testing.wait_all_tasks_blocked()
