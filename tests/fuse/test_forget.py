"""What the kernel forgets, we forget: inodes do not pile up. SEMANTICS: "Inodes"."""

import ctypes
import os

import pytest

pytestmark = [
    pytest.mark.both_engines,
    pytest.mark.fuse,
    pytest.mark.skipif(os.geteuid() != 0, reason="remounts, by which the kernel drops its caches"),
]

AS_IT_IS = 1 | 2 | 4  # MS_RDONLY, MS_NOSUID, MS_NODEV
MS_REMOUNT = 32


def drop_caches(server):
    """Have the kernel drop what it knows of one mount; `vm.drop_caches` would do so to those of other tests too."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(None, os.fsencode(server.path), None, MS_REMOUNT | AS_IT_IS, None) != 0:
        raise OSError(ctypes.get_errno(), "mount(MS_REMOUNT)")


def fall_to(server, count):
    """Drop caches until no more than `count` inodes are known; the kernel forgets in its own time."""

    def fell(counters):
        if counters["inodes"] <= count:
            return True
        drop_caches(server)
        return False

    return server.wait_until(fell)


@pytest.fixture
def server(serve):
    server = serve(page_limit=1000)
    server.set_many([f"d{index % 10}/{index}" for index in range(3000)])
    return server


def test_a_listing_is_forgotten(server):
    assert sum(len(files) for _, _, files in os.walk(server.path)) == 3000
    assert server.counters()["inodes"] == 3011
    fall_to(server, 1)


def test_names_that_were_looked_up_one_by_one_are_forgotten(server):
    for index in range(3000):
        os.stat(server.path / f"d{index % 10}" / f"{index}")
    os.stat(server.path / "d0" / "0")
    assert server.counters()["inodes"] == 3011
    fall_to(server, 1)


def test_what_is_in_use_stays_with_the_way_to_it(server):
    path = server.path / "d7" / "7"
    with path.open("rb") as opened:
        number = os.fstat(opened.fileno()).st_ino
        os.listdir(server.path / "d7")
        fall_to(server, 3)  # the root, d7, and the file
        assert os.stat(path).st_ino == number
        assert opened.read() == b"x"
    os.chdir(server.path / "d3")
    try:
        number = os.stat(".").st_ino
        drop_caches(server)
        assert os.stat(server.path / "d3").st_ino == number
        assert len(os.listdir(".")) == 300
    finally:
        os.chdir("/")


def test_forgotten_names_are_found_again_under_new_numbers(server):
    number = os.stat(server.path / "d1" / "1").st_ino
    fall_to(server, 1)
    assert os.stat(server.path / "d1" / "1").st_ino > number
    assert (server.path / "d1" / "1").read_bytes() == b"x"


def test_replaced_versions_are_forgotten_one_by_one(serve):
    server = serve({"file": b"0"}, ttl_s=0)
    for index in range(200):
        server.set("file", str(index).encode())
        assert (server.path / "file").read_bytes() == str(index).encode()
    counters = server.wait_until(lambda counters: counters["inodes"] <= 3)
    assert counters["changed_objects"] >= 199
    assert counters["handles"] == 0
