"""A dataset on a real mount: what was pinned is what is seen.

SEMANTICS: "Datasets".
"""

import errno
import os

import pytest

pytestmark = pytest.mark.fuse


def test_a_mount_shows_what_was_pinned_and_nothing_else(mountd, tmp_path):
    data = tmp_path / "data"
    for path in ("a/1", "a/2", "b/c/3", "gone", "replaced"):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_text(f"bytes of {path}")
    mountd.run("workspace", "init", check=0)
    mountd.run("dataset", "create", "d", "--path", data, check=0)
    was = (data / "replaced").stat()
    (data / "a" / "later").write_text("later")
    (data / "gone").unlink()
    (data / "replaced").write_text("other of replaced")

    numbers = {}
    for _ in range(2):
        point = tmp_path / "point"
        mountd.mount("azureml:d", point, "-o", "attr_ttl=0")
        assert sorted(os.listdir(point)) == ["a", "b", "gone", "replaced"]
        assert sorted(os.listdir(point / "a")) == ["1", "2"]
        assert (point / "b" / "c" / "3").read_text() == "bytes of b/c/3"
        seen = (point / "replaced").stat()
        assert (seen.st_size, seen.st_mtime_ns) == (was.st_size, was.st_mtime_ns)
        for name in ("gone", "replaced"):
            for _ in range(2):
                with pytest.raises(OSError) as refused:
                    (point / name).read_bytes()
                assert refused.value.errno == errno.ESTALE
        with pytest.raises(FileNotFoundError):
            (point / "a" / "later").read_bytes()
        found = {path: (point / path).stat().st_ino for path in ("a", "a/1", "b/c/3", "gone", "replaced")}
        assert len(set(found.values())) == len(found)
        assert numbers in ({}, found)
        numbers = found
        assert mountd.status(point)["statistics"]["changed_objects"] == 2
        mountd.run("unmount", point, check=0)
