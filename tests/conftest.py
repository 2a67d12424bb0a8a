"""Fixtures shared by all tests live in `tests/support`; each module is registered here."""

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.support.azurite",
    "tests.support.disk_cache",
    "tests.support.fuse_server",
    "tests.support.mounts",
    "tests.support.other_user",
    "tests.support.nginx",
    "tests.support.run_node",
    "tests.support.raw_http",
    "tests.support.stores",
]

# By default an example that takes more than 200 ms fails its test: on a busy machine any may, and none is about time.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
