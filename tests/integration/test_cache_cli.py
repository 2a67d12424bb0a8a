"""The disk cache as a user sees it: on real mounts of a Blob container, across unmounts and deaths."""

import json
import os
import signal

import pytest

from benchmarks.origin.process import Dataset, running_origin
from tests.support.disk_cache import files_of
from tests.support.mounts import caches_beside

COUNT, SIZE = 12, 150_000


@pytest.fixture(scope="module")
def origin():
    with running_origin(Dataset(container="data", count=COUNT, size=SIZE, pattern="{index}.bin")) as origin:
        yield origin


@pytest.fixture
def node(mountd, origin, tmp_path):
    """A node with a cache directory of its own and credentials for the origin."""
    caches_beside(mountd, origin, tmp_path)
    return mountd


@pytest.fixture
def point(mountd):
    path = mountd.directory / "point"
    path.mkdir()
    return path


def gets(origin):
    return origin.counters().requests.get("get", 0)


def read_all(point):
    return {path.name: path.read_bytes() for path in sorted(point.iterdir())}


def shown(node):
    return json.loads(node.run("cache", "show", "--json", check=0).stdout)


def test_the_second_mount_asks_for_no_data(node, origin, point, tmp_path):
    node.mount(origin.container_url("data"), point)
    first = read_all(point)
    node.run("unmount", point, check=0)
    node.wait_gone()
    assert len(first) == COUNT
    before = gets(origin)
    node.mount(origin.container_url("data"), point)
    assert read_all(point) == first
    assert gets(origin) == before
    statistics = node.status(point)["statistics"]
    assert statistics["disk_hits"] == COUNT
    assert statistics["disk_misses"] == 0
    assert statistics["bytes_fetched"] == 0
    assert statistics["disk_objects"] == COUNT
    assert "disk cache" in node.run("status", point, check=0).stdout
    assert sorted(path.read_bytes() for path in files_of(tmp_path / "cache")) == sorted(first.values())
    assert oct((tmp_path / "cache").stat().st_mode)[-3:] == "700"


def test_show_verify_and_clear_beside_a_mount(node, origin, point, tmp_path):
    assert shown(node)["exists"] is False
    assert "nothing was cached" in node.run("cache", "show", check=0).stdout
    assert not (tmp_path / "cache").exists()
    node.mount(origin.container_url("data"), point)
    first = read_all(point)
    # What is missing of a directory in use is brought 2 s later; after that nothing is, whatever becomes bad.
    node.wait_until(lambda: (node.status(point)["statistics"]["fill"] or {}).get("state") == "complete", "brought")
    found = shown(node)
    assert found["complete"] == COUNT
    assert found["processes"] == 1
    assert COUNT * SIZE <= found["used"] <= found["ceiling"]
    assert found["reserve"] == 1 << 20
    assert f"{COUNT}, {COUNT} of them complete" in node.run("cache", "show", check=0).stdout
    assert f"{COUNT} objects" in node.run("cache", "verify", check=0).stdout
    with files_of(tmp_path / "cache")[0].open("r+b") as file:
        file.write(b"wrong")
    assert "1 of its pieces not as written" in node.run("cache", "verify", check=7).stderr
    assert json.loads(node.run("cache", "verify", "--json", check=0).stdout) == {
        "objects": COUNT - 1, "bytes": (COUNT - 1) * SIZE, "bad": 0,
    }  # fmt: skip
    assert f"removed {COUNT - 1} objects" in node.run("cache", "clear", check=0).stdout
    assert files_of(tmp_path / "cache") == []
    assert read_all(point) == first


def test_a_flipped_bit_on_disk_never_reaches_a_reader(node, origin, point, tmp_path):
    node.mount(origin.container_url("data"), point)
    first = read_all(point)
    node.run("unmount", point, check=0)
    node.wait_gone()
    for path in files_of(tmp_path / "cache"):
        with path.open("r+b") as file:
            file.seek(SIZE // 2)
            byte = file.read(1)
            file.seek(SIZE // 2)
            file.write(bytes([byte[0] ^ 1]))
    node.mount(origin.container_url("data"), point)
    assert read_all(point) == first
    # What a reader found wrong is counted when it is put right, which no reader waits for.
    node.wait_until(lambda: node.status(point)["statistics"]["disk_corrupt"] == COUNT, "every bad file counted")


def test_a_killed_worker_leaves_a_cache_that_the_next_one_uses(node, origin, point):
    record = node.mount(origin.container_url("data"), point)
    first = read_all(point)
    node.wait_until(lambda: shown(node)["complete"] == COUNT, "all objects complete")
    before = gets(origin)
    os.kill(record.worker_pid, signal.SIGKILL)
    # One look, not two: between them the death may be noticed.
    node.wait_until(lambda: (one := node.record(point)).state == "ready" and one.restarts == 1, "a new worker")
    assert read_all(point) == first
    assert gets(origin) == before
    node.wait_until(lambda: shown(node)["processes"] == 1, "the dead one is forgotten")


def test_stream_leaves_the_disk_alone(node, origin, point, tmp_path):
    node.mount(origin.container_url("data"), point, "--mode", "stream")
    read_all(point)
    assert not (tmp_path / "cache").exists()
    assert node.status(point)["statistics"]["disk_limit"] == 0


def test_a_cache_directory_that_cannot_be_used_means_streaming(node, origin, point, tmp_path):
    (tmp_path / "file").write_text("")
    node.mount(origin.container_url("data"), point, "--cache-dir", tmp_path / "file" / "cache")
    assert len(read_all(point)) == COUNT
    assert "the cache directory is in trouble and left out" in node.run("status", point, check=0).stdout
    refused = node.run("prefetch", point, check=5)
    assert "the cache directory is in trouble and left out" in refused.stderr


def test_a_small_ceiling_holds(node, origin, point, tmp_path):
    node.mount(origin.container_url("data"), point, "--cache-size", "4MB")
    assert len(read_all(point)) == COUNT
    found = shown(node)
    assert found["ceiling"] == 4 << 20
    assert found["used"] <= 4 << 20
