"""Mounts whose large cached files the kernel reads itself, and what tells that it does."""

import contextlib
import os
import re
from pathlib import Path

import pytest

from mountd.units import MIB
from tests.support.versioned_content import versioned

SIZE = 5 * MIB + 12_345
SYS_ADMIN = 1 << 21


def lacking():
    """Return what this machine lacks for it."""
    if tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups())) < (6, 9):
        return "needs Linux 6.9"
    status = Path("/proc/self/status").read_text()
    if os.geteuid() != 0 or not int(re.search(r"CapEff:\s+(\w+)", status)[1], 16) & SYS_ADMIN:
        return "needs root with the capability SYS_ADMIN"
    return ""


needs_passthrough = pytest.mark.skipif(bool(lacking()), reason=lacking())


@pytest.fixture
def start_passing(serve, tmp_path):
    """Start a mount with passthrough, with the first version of `file`."""

    def start(*, cache_dir=tmp_path / "cache", **options):
        server = serve(cache_dir=str(cache_dir), passthrough=True, **options)
        server.set_version("file", 1, SIZE)
        return server

    return start


def bring(server, key="file"):
    """Bring a file to disk, and return where it lies."""
    server.call("bring", key=key)
    server.wait_until(lambda _: server.call("cached_file", key=key))
    return Path(server.call("cached_file", key=key))


@contextlib.contextmanager
def opened(server, key="file", flags=os.O_RDONLY):
    descriptor = os.open(server.path / key, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def passing(server):
    return server.counters()["passing"]


def wait_passing(server, key="file"):
    """Return when an open of a file that is on disk is one by passthrough: it was looked at."""

    def passes(_):
        with opened(server, key):
            return passing(server)

    server.wait_until(passes)
    server.wait_until(lambda counters: counters["passing"] == counters["handles"] == 0)


def is_version(descriptor, version, size=SIZE):
    return os.pread(descriptor, size + 1, 0) == versioned(version, size)


def is_read(server):
    with opened(server) as descriptor:
        assert is_version(descriptor, 1)
    return True
