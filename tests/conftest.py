"""Fixtures shared by all tests live in `tests/support`; each module is registered here."""

from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

from tests.support.clients import PYTHON as CLIENTS

pytest_plugins = [
    "tests.support.azurite",
    "tests.support.disk_cache",
    "tests.support.fuse_server",
    "tests.support.mounts",
    "tests.support.other_user",
    "tests.support.nginx",
    "tests.support.passthrough",
    "tests.support.run_node",
    "tests.support.raw_http",
    "tests.support.stores",
    "tests.support.tls_http",
    "tests.support.web_origin",
]

# By default an example that takes more than 200 ms fails its test: on a busy machine any may, and none is about time.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

LONGEST_FIRST = ("pages", "integration", "fuse", "clients", "model", "")
"""Where modules take long, they come first, so that no process has much left to do when the others are done."""


def pytest_collection_modifyitems(config, items):
    """Leave out what needs software that is no dependency: `scripts/test --torch` and `--clients` bring it."""
    absent = []
    if find_spec("torch") is None:
        absent.append("torch")
    if not CLIENTS.exists():
        absent.append("clients")
    without = [item for item in items if not any(item.get_closest_marker(marker) for marker in absent)]
    kept = set(without)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = without
    items.sort(key=lambda item: [f"tests/{place}" in str(item.path) for place in LONGEST_FIRST].index(True))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Share the tests among the processes of `scripts/test`."""
    from tests.support.side_by_side import ByModule  # noqa: PLC0415 - a run in one process needs no xdist

    config.option.loadscopereorder = False
    return ByModule(config, log)
