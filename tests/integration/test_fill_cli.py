"""Mounts that turn into downloads: `--mode download`, `prefetch`, datasets, and directories in use."""

import json
import os
import signal
import subprocess

import pytest

from benchmarks.origin.process import Dataset, running_origin
from tests.support.disk_cache import files_of
from tests.support.mounts import caches_beside

COUNT, SIZE = 20, 120_000
LARGE = 9 << 20


@pytest.fixture(scope="module")
def origin():
    with running_origin(
        Dataset(container="data", count=COUNT, size=SIZE, pattern="{group}/{index}.bin", group_size=COUNT // 2),
        Dataset(container="large", count=1, size=LARGE, pattern="large.bin"),
    ) as origin:
        yield origin


@pytest.fixture
def node(mountd, origin, tmp_path):
    """A node with a cache directory of its own and credentials for the origin."""
    caches_beside(mountd, origin, tmp_path)
    origin.control()
    return mountd


@pytest.fixture
def point(mountd):
    path = mountd.directory / "point"
    path.mkdir()
    return path


def gets(origin):
    return origin.counters().requests.get("get", 0)


def read_all(point):
    return {path: path.read_bytes() for path in sorted(point.rglob("*")) if path.is_file()}


def fill_state(node, point):
    fill = node.status(point)["statistics"]["fill"]
    return None if fill is None else fill["state"]


def shown(node):
    return json.loads(node.run("cache", "show", "--json", check=0).stdout)


def test_download_returns_when_everything_is_on_disk(node, origin, point):
    node.mount(origin.container_url("data"), point, "--mode", "download")
    before = gets(origin)
    assert len(read_all(point)) == COUNT
    assert gets(origin) == before
    status = node.status(point)
    assert status["details"]["mode"] == "download: complete, served from disk"
    fill = status["statistics"]["fill"]
    assert fill["state"] == "complete"
    assert fill["files"] == fill["files_total"] == COUNT
    assert fill["bytes"] == fill["bytes_total"] == COUNT * SIZE


def test_a_large_file_is_downloaded_in_parts_into_one_file(node, origin, point, tmp_path):
    node.mount(origin.container_url("large"), point, "--mode", "download", "--memory", "16MiB")
    (path,) = files_of(tmp_path / "cache")
    assert path.read_bytes() == (point / "large.bin").read_bytes()
    assert shown(node)["complete"] == 1


def test_a_download_that_does_not_fit_is_refused_and_leaves_no_mount(node, origin, point):
    done = node.run("mount", origin.container_url("large"), point, "--mode", "download", "--cache-size", "6MB", check=5)
    assert "9.0 MiB does not fit" in done.stderr
    node.wait_gone()


def test_a_download_in_the_foreground_says_mounted_when_everything_is_on_disk(node, origin, point):
    origin.control(latency_ms=200)  # much longer than it takes to ask
    options = ("--mode", "download", "--foreground")
    with node.start("mount", origin.container_url("large"), point, *options, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith("mounted ")
        assert fill_state(node, point) == "complete"
        node.run("unmount", point, check=0)
        assert process.wait(20) == 0


def test_a_download_in_the_foreground_that_does_not_fit_is_refused_and_leaves_no_mount(node, origin, point):
    options = ("--mode", "download", "--foreground", "--cache-size", "6MB")
    done = node.run("mount", origin.container_url("large"), point, *options, check=5)
    assert "9.0 MiB does not fit" in done.stderr
    assert "mounted" not in done.stdout
    node.wait_gone()


def test_a_download_without_a_usable_cache_directory_is_refused(node, origin, point, tmp_path):
    (tmp_path / "file").write_text("")
    done = node.run(
        "mount", origin.container_url("data"), point, "--mode", "download", "--cache-dir", tmp_path / "file" / "x"
    )
    assert done.returncode in {4, 5}
    assert "cache directory" in done.stderr


def test_a_local_directory_is_read_in_place_whatever_is_asked_for(node, point, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"x" * 100_000)
    node.mount(source, point, "--mode", "download")
    assert "read in place" in node.status(point)["details"]["mode"]
    for patterns in ([], ["a"], ["nothing/*"]):
        assert "read in place" in node.run("prefetch", point, *patterns, check=0).stdout
    assert not (tmp_path / "cache").exists()


def test_a_mount_that_streams_brings_nothing(node, origin, point):
    node.mount(origin.container_url("data"), point, "--mode", "stream")
    assert "--mode stream" in node.run("prefetch", point, check=5).stderr


def test_prefetch_brings_what_the_patterns_name(node, origin, point):
    node.mount(origin.container_url("data"), point)
    assert "10 files" in node.run("prefetch", point, "0", check=0).stdout
    assert shown(node)["complete"] == COUNT // 2
    before = gets(origin)
    for path in (point / "0").iterdir():
        assert len(path.read_bytes()) == SIZE
    assert gets(origin) == before
    node.run("prefetch", point, "1/*", "--pin", check=0)
    found = shown(node)
    assert found["complete"] == COUNT
    assert found["pinned"] >= COUNT // 2 * SIZE
    assert "20 files" in node.run("prefetch", point, check=0).stdout
    assert gets(origin) == before + COUNT // 2
    assert "no file matches 2, trian/*; " in node.run("prefetch", point, "2", "trian/*", check=3).stderr
    node.run("cache", "clear", check=0)
    node.run("prefetch", point, f"{point}/0/", check=0)  # as a shell completes it
    assert shown(node)["complete"] == COUNT // 2


def test_prefetch_of_what_is_no_mount(node, tmp_path):
    assert "no mount of yours" in node.run("prefetch", tmp_path, check=3).stderr


def test_a_dataset_fills_at_once_and_a_bare_container_does_not(node, origin, point, tmp_path):
    node.mount(origin.container_url("data"), point)
    list(point.rglob("*"))
    assert node.status(point)["statistics"]["fill"] is None
    node.run("unmount", point, check=0)
    asset = tmp_path / "asset.yml"
    asset.write_text(
        "$schema: https://azuremlschemas.azureedge.net/latest/data.schema.json\n"
        f"name: pictures\ntype: uri_folder\npath: {origin.container_url('data')}\n"
    )
    node.mount(asset, point)
    node.wait_until(lambda: fill_state(node, point) == "complete", "the dataset is on disk")
    assert node.status(point)["details"]["mode"] == "complete, served from disk"
    assert shown(node)["complete"] == COUNT


def test_a_dataset_that_does_not_fit_streams_and_says_so(node, origin, point, tmp_path):
    asset = tmp_path / "asset.yml"
    asset.write_text(f"name: pictures\ntype: uri_folder\npath: {origin.container_url('large')}\n")
    node.mount(asset, point, "--cache-size", "6MB")
    node.wait_until(lambda: fill_state(node, point) == "streaming", "it was counted")
    assert node.status(point)["details"]["mode"].startswith("streaming: 9.0 MiB does not fit in ")
    assert len((point / "large.bin").read_bytes()) == LARGE


def test_a_directory_in_use_is_filled_and_its_neighbour_is_not(node, origin, point):
    node.mount(origin.container_url("data"), point)
    files = sorted((point / "0").iterdir())
    for path in files[:2]:
        path.read_bytes()
    assert node.status(point)["statistics"]["fill"] is None
    files[2].read_bytes()
    node.wait_until(lambda: fill_state(node, point) == "complete", "the directory is on disk")
    assert shown(node)["complete"] == COUNT // 2


def test_a_worker_killed_while_it_fills_leaves_a_cache_that_the_next_one_completes(node, origin, point, tmp_path):
    asset = tmp_path / "asset.yml"
    asset.write_text(f"name: pictures\ntype: uri_folder\npath: {origin.container_url('data')}\n")
    origin.control(latency_ms=100, connection_bytes_s=1e6)
    record = node.mount(asset, point)
    node.wait_until(lambda: files_of(tmp_path / "cache"), "a file is being written")
    os.kill(record.worker_pid, signal.SIGKILL)
    origin.control()
    node.wait_until(lambda: node.record(point).restarts == 1 and node.record(point).state == "ready", "a new worker")
    node.wait_until(lambda: fill_state(node, point) == "complete", "the rest is on disk")
    before = gets(origin)
    assert {len(data) for data in read_all(point).values()} == {SIZE}
    assert gets(origin) == before
    assert f"{COUNT} objects" in node.run("cache", "verify", check=0).stdout
    node.wait_until(lambda: shown(node)["processes"] == 1, "the dead one is forgotten")


def test_a_cache_directory_that_is_a_file_is_refused_in_every_mode_that_has_one(node, origin, point, tmp_path):
    (tmp_path / "file").write_text("")
    options = ("mount", origin.container_url("data"), point, "--cache-dir", tmp_path / "file")
    assert "file: is not a directory; give another --cache-dir" in node.run(*options, check=2).stderr
    assert node.mounts() == []
    node.run(*options, "--mode", "stream", check=0)
    node.run("unmount", point, check=0)
