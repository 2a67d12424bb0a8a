import contextlib
import os

import pytest

from mountd.catalog.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace.init(tmp_path / "work")


@pytest.fixture
def as_nobody():
    """Gives up root's right to see everything for a while; other users never had it."""

    @contextlib.contextmanager
    def switched():
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return switched
