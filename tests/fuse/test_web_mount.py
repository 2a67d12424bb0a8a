"""Web files on real mounts, from servers of every habit: one version to a reader, a newer one to the next `open`.

SEMANTICS: "Web files".
"""

import errno
import gzip
import time

import pytest

from mountd.units import MIB
from tests.support.web_origin import Habits

pytestmark = pytest.mark.fuse
OLD = time.time() - 1_000_000
HABITS = {
    "strong": Habits(),
    "dated": Habits(etag=None, modified=OLD),
    "nothing": Habits(etag=None),
    "whole": Habits(parts=False),
    "gzip": Habits(etag=None, parts=False, encode=gzip.compress),
}


@pytest.mark.parametrize("habits", list(HABITS))
def test_a_reader_keeps_its_version_and_the_next_one_sees_the_new(mountd, web_origin, tmp_path, habits):
    web_origin.habits = Habits(**vars(HABITS[habits]))
    web_origin.content = b"a" * (3 * MIB)
    point = tmp_path / "point"
    mountd.mount(web_origin.url, point, "-o", "attr_ttl=0")
    shown = point / "file.csv"
    assert shown.stat().st_size == 3 * MIB
    with shown.open("rb", buffering=0) as opened:
        assert set(opened.read(100)) == {ord("a")}
        with web_origin.lock:
            web_origin.content = b"b" * (2 * MIB)
            if web_origin.habits.modified is not None:
                web_origin.habits.modified += 100
        new = shown.read_bytes()
        assert (len(new), set(new)) == (2 * MIB, {ord("b")})
        try:
            while piece := opened.read(MIB):
                assert set(piece) == {ord("a")}
        except OSError as error:  # either is right, a mixture is not
            assert error.errno == errno.ESTALE


def test_a_slow_link_is_waited_for_and_one_that_drips_is_not(mountd, web_origin, tmp_path):
    web_origin.content = bytes(range(256)) * 1600
    web_origin.habits.bytes_s = 140_000
    point = tmp_path / "point"
    mountd.mount(web_origin.url, point, "--mode", "stream", "-o", "request_deadline=1.5s")
    began = time.monotonic()
    assert (point / "file.csv").read_bytes() == web_origin.content
    assert time.monotonic() - began > 2
    mountd.run("unmount", point, check=0)
    web_origin.habits.bytes_s = 1_000
    mountd.mount(web_origin.url, point, "--mode", "stream", "-o", "request_deadline=1s")
    began = time.monotonic()
    with pytest.raises(OSError, match="Input/output error"):
        (point / "file.csv").read_bytes()
    assert time.monotonic() - began < 5


def test_what_was_read_is_not_fetched_by_the_next_mount(mountd, web_origin, tmp_path):
    # One piece: of several, busy processors keep only what fits the queue.
    web_origin.content = bytes(range(256)) * 2_000
    for asked in (True, False):
        mountd.mount(web_origin.url, tmp_path / "point", "--cache-dir", tmp_path / "cache")
        assert (tmp_path / "point" / "file.csv").read_bytes() == web_origin.content
        mountd.run("unmount", tmp_path / "point", check=0)
        ranges = [request.get("range") for request in web_origin.requests]
        assert any(wanted != "bytes=0-0" for wanted in ranges) is asked
        web_origin.requests.clear()
