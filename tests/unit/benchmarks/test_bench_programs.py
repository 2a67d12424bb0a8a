"""The programs that read and fetch do what they report."""

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from benchmarks.disturbance import Window, cpu_seconds
from benchmarks.fetch import FetchJob
from benchmarks.jobs import PROJECT, JobError, run_job
from benchmarks.mounts import Memory, MountError
from benchmarks.origin.process import Dataset, running_origin
from benchmarks.readers import ReadJob

FILES = Dataset(container="c", count=20, size=300_000, pattern="{index:03d}.bin")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for index in range(20):
        (tmp_path / f"{index:03d}.bin").write_bytes(os.urandom(10_000))
    return tmp_path


def read(**fields: object) -> tuple[int, int]:
    made = run_job("benchmarks.readers", ReadJob(**fields))
    assert made.seconds > 0
    return made.bytes, made.operations


def test_readers_read_everything_once(directory: Path) -> None:
    names = [f"{index:03d}.bin" for index in range(20)]

    assert read(kind="files", path=str(directory), names=names, workers=4, buffer=4096) == (200_000, 20)
    assert read(kind="files", path=str(directory), workers=3) == (200_000, 20)
    assert read(kind="sequential", path=str(directory / "007.bin"), buffer=3000) == (10_000, 4)
    assert read(kind="random", path=str(directory / "007.bin"), size=10_000, buffer=500, count=40, workers=4) == (
        20_000,
        40,
    )
    assert read(kind="list", path=str(directory)) == (0, 20)
    assert read(kind="stat", path=str(directory)) == (0, 20)
    assert read(kind="first_byte", path=str(directory / "007.bin")) == (1, 1)


def test_a_reader_that_fails_fails_the_job(directory: Path) -> None:
    with pytest.raises(JobError, match="2 of 2 workers failed"):
        read(kind="files", path=str(directory), names=["none"] * 10, workers=2)
    with pytest.raises(JobError, match="No such file"):
        read(kind="sequential", path=str(directory / "none"))


@pytest.mark.parametrize("client", ["raw", "obstore"])
def test_fetchers_fetch_ranges_and_whole_objects(client: str) -> None:
    with running_origin(FILES) as origin:
        job = FetchJob(
            client=client, port=origin.port, account=origin.account, key=origin.key, container="c",
            names=["003.bin"], size=FILES.size, block=70_000, connections=3,
        )  # fmt: skip
        ranges = run_job("benchmarks.fetch", job, companions=[origin.pid])
        assert (ranges.bytes, ranges.operations) == (300_000, 5)
        assert origin.counters().requests["get"] == 5
        assert origin.counters().bytes_sent == 300_000
        origin.reset()
        job.names = [f"{index:03d}.bin" for index in range(20)]
        whole = run_job("benchmarks.fetch", job)
        assert (whole.bytes, whole.operations) == (20 * 300_000, 20)
        if client == "raw":  # obstore opens one more when it has to wait for one
            assert origin.counters().max_connections <= 4  # the counters' own is among them
        job.names = ["none", "none"]
        with pytest.raises(JobError):
            run_job("benchmarks.fetch", job)


@pytest.mark.fuse
def test_the_fuse_ceiling_serves_the_origins_bytes_and_is_gone_afterwards(tmp_path: Path) -> None:
    with running_origin(FILES) as origin, Memory(FILES, tmp_path, tape_pages=4099).mounted("c") as mount:
        assert sorted(os.listdir(mount.path)) == [f"{index:03d}.bin" for index in range(20)]
        assert (mount.path / "011.bin").read_bytes() == origin.expected("c", "011.bin", 0, FILES.size)
        assert mount.peak_bytes() > 10 << 20

    assert list(tmp_path.iterdir()) == []
    assert cpu_seconds(mount.pid) == 0


@pytest.mark.fuse
def test_a_mount_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    broken = Dataset(container="c", count=1, size=10, pattern="{no_such_field}")

    with pytest.raises(MountError, match="KeyError"), Memory(broken, tmp_path, tape_pages=17).mounted("c"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_work_of_a_companion_is_not_taken_for_that_of_others() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        began, pause = monotonic(), Event()
        as_stranger, as_companion = Window(), Window([busy.pid])
        while cpu_seconds(busy.pid) < 0.5:
            pause.wait(0.02)
        difference = as_stranger.others() - as_companion.others()  # both saw the same machine
        elapsed = monotonic() - began
    finally:
        busy.kill()
        busy.wait()

    assert 0.3 < difference * elapsed < 0.9


def test_an_unknown_scenario_is_a_usage_error() -> None:
    command = [sys.executable, "-m", "benchmarks", "no-such"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "no scenario no-such; there are: seq512" in done.stderr


@pytest.mark.fuse
def test_a_whole_run_measures_mountd_writes_json_and_leaves_nothing(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks", "random4k", "--quick", "--quiet", "99", "--json", str(found)]
    done = subprocess.run(
        [*command, "--scratch", str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    (result,) = json.loads(found.read_text())["results"]
    mountd = next(series for series in result["series"] if series["name"] == "mountd")
    assert "mountd" not in result["failures"]  # rclone need not be installed
    assert mountd["median"] > 0
    assert mountd["extra"]["fetched"] >= 50 * 4096
    assert list(tmp_path.iterdir()) == [found]
