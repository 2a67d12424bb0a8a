"""What a dataset of many files costs: to register, to mount again, in memory for each file and for each inode.

`python -m benchmarks.micro.dataset_files [--files N]` serves N blobs from the origin in directories of a thousand,
registers them, mounts the dataset twice and has the kernel look at every file of the second mount. Memory is the
worker's anonymous memory, less what the mount of a dataset of one file has. The order of `os.scandir` and `stat` is a
data loader's. A million files take about three minutes and 1 GB of memory in the origin.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.origin.process import Dataset, running_origin

MOUNTD = Path(sys.executable).with_name("mountd")
GROUP = 1000


class Node:
    """mountd with a workspace and directories of its own."""

    def __init__(self, home: Path, mode: str) -> None:
        self.home = home
        self._mode = mode
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "MOUNTD_RUNTIME_DIR": str(home / "runtime"),
            "MOUNTD_WORKSPACE": str(home),
        }

    def mountd(self, *arguments: str) -> tuple[str, float]:
        """Return what a command prints and how long it takes, seconds."""
        started = perf_counter()
        done = subprocess.run([MOUNTD, *arguments], env=self._environ, check=True, capture_output=True, text=True)
        return done.stdout, perf_counter() - started

    @contextmanager
    def mounted(self, source: str) -> Iterator[tuple[Path, int, float]]:
        """Mount, and yield the mount point, the worker's process id and the seconds that it took."""
        point = self.home / "point"
        _, seconds = self.mountd("mount", source, str(point), "--mode", self._mode)
        try:
            (record,) = json.loads(self.mountd("status", str(point), "--json")[0])
            yield point, record["worker_pid"], seconds
        finally:
            self.mountd("unmount", str(point))


def anonymous_bytes(pid: int) -> int:
    """Return the memory of a process that is no file's."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no RssAnon of {pid}")


def look_at_all(directory: Path) -> tuple[int, float]:
    """Have the kernel know every file below `directory`; return how many there are, and the seconds."""
    started = perf_counter()
    pending, files = [str(directory)], 0
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    files += 1
    return files, perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--mode", default="stream")
    arguments = parser.parse_args()
    count = arguments.files
    pattern = "train/n{group:08d}/n{group:08d}_{index:07d}.JPEG"
    data = Dataset(container="many", pattern=pattern, count=count, group_size=GROUP, size=110_000)
    with tempfile.TemporaryDirectory() as home, running_origin(data) as origin:
        node = Node(Path(home), arguments.mode)
        node.mountd("workspace", "init", home)
        url = origin.container_url("many")
        node.mountd("dataset", "create", "one", "--path", f"{url}/{pattern.format(group=0, index=0)}")
        with node.mounted("azureml:one") as (point, pid, _):
            look_at_all(point)
            empty = anonymous_bytes(pid)
        _, seconds = node.mountd("dataset", "create", "many", "--path", url)
        listing = next((Path(home) / ".azureml" / "data" / "many").glob("*.listing")).stat().st_size
        print(f"registered {count:,} files in {seconds:.1f} s, listing {listing / count:.0f} bytes a file")
        requests = origin.counters().requests
        with node.mounted("azureml:many") as (point, pid, seconds):
            held = anonymous_bytes(pid)
            print(f"mounted again in {seconds:.2f} s, worker {(held - empty) / count:.0f} bytes a file")
            files, looked_s = look_at_all(point)
            assert files == count, files
            known = anonymous_bytes(pid)
            print(f"all looked at in {looked_s:.1f} s, worker {(known - held) / count:.0f} bytes more for each inode")
        asked = sum(origin.counters().requests.values()) - sum(requests.values())
        print(f"requests to storage since the listing: {asked}")


if __name__ == "__main__":
    main()
