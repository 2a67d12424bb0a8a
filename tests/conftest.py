"""Fixtures shared by all tests live in `tests/support`; each module is registered here."""

pytest_plugins = [
    "tests.support.azurite",
    "tests.support.fuse_server",
    "tests.support.mounts",
    "tests.support.run_node",
    "tests.support.raw_http",
    "tests.support.stores",
]
