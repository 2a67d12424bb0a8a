"""Fixtures shared by all tests live in `tests/support`; each module is registered here."""

pytest_plugins = ["tests.support.fuse_server"]
