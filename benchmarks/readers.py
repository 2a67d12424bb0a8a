"""Programs that read files the way training jobs do, with as little work of their own as Python allows.

`python -m benchmarks.readers` takes one job on standard input and prints a `Sample`. Workers are forked and ready
before the clock starts; each reads into one buffer of its own; names are handed out through a pipe, so that no worker
idles while another has work left.
"""

import mmap
import os
import random
import struct
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Literal

import msgspec

from benchmarks.jobs import Sample

_INDEX = struct.Struct("<I")


class ReadJob(msgspec.Struct, kw_only=True):
    """What to read."""

    kind: Literal["sequential", "files", "random", "list", "stat", "first_byte"]
    path: str
    """The file, or the directory of `names`."""
    names: list[str] = []
    """For `files` and `stat`; empty: all that the directory lists, which is then not timed."""
    workers: int = 1
    buffer: int = 1 << 20
    """Bytes asked for by one read(2)."""
    size: int = 0
    """Of the file, for `random`."""
    count: int = 0
    """Reads in all, for `random`."""
    grid: int = 0
    """They start at multiples of this; 0: of `buffer`."""
    seed: int = 1


def run(job: ReadJob) -> Sample:
    """Do `job`."""
    match job.kind:
        case "sequential":
            return _sequential(job)
        case "files":
            names = job.names or sorted(os.listdir(job.path))
            return _in_workers(job, len(names), _file_reader(job, names))
        case "random":
            source = random.Random(job.seed)
            grid = job.grid or job.buffer
            places = (job.size - job.buffer) // grid + 1
            offsets = [source.randrange(places) * grid for _ in range(job.count)]
            return _in_workers(job, job.count, _range_reader(job, offsets))
        case "list":
            began = perf_counter()
            found = len(os.listdir(job.path))
            return Sample(seconds=perf_counter() - began, operations=found)
        case "stat":
            names = job.names or os.listdir(job.path)
            began = perf_counter()
            for name in names:
                os.stat(f"{job.path}/{name}")
            return Sample(seconds=perf_counter() - began, operations=len(names))
        case "first_byte":
            began = perf_counter()
            with open(job.path, "rb", buffering=0) as file:
                got = len(file.read(1))
            return Sample(seconds=perf_counter() - began, bytes=got, operations=1)


def _sequential(job: ReadJob) -> Sample:
    with mmap.mmap(-1, job.buffer) as buffer:
        buffer[:] = b"\0" * job.buffer  # the pages are there before the clock starts
        total = operations = 0
        first = 0.0
        began = perf_counter()
        fd = os.open(job.path, os.O_RDONLY)
        while got := os.readv(fd, [buffer]):
            if not total:
                first = perf_counter() - began
            total += got
            operations += 1
        os.close(fd)
        return Sample(
            seconds=perf_counter() - began, bytes=total, operations=operations, extra={"first_read_ms": first * 1000}
        )


Step = Callable[[int, mmap.mmap], int]


def _file_reader(job: ReadJob, names: Sequence[str]) -> Step:
    def step(index: int, buffer: mmap.mmap) -> int:
        fd = os.open(f"{job.path}/{names[index]}", os.O_RDONLY)
        total = 0
        while got := os.readv(fd, [buffer]):
            total += got
        os.close(fd)
        return total

    return step


def _range_reader(job: ReadJob, offsets: Sequence[int]) -> Step:
    fd = -1

    def step(index: int, buffer: mmap.mmap) -> int:
        nonlocal fd
        if fd < 0:
            fd = os.open(job.path, os.O_RDONLY)
        return os.preadv(fd, [buffer], offsets[index])

    return step


def _in_workers(job: ReadJob, count: int, step: Step) -> Sample:
    """Do `step` for 0 … count - 1 in forked workers."""
    queue_out, queue_in = os.pipe()
    ready_out, ready_in = os.pipe()
    go_out, go_in = os.pipe()
    done_out, done_in = os.pipe()
    pids = []
    for _ in range(job.workers):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        status = 1
        try:
            os.close(queue_in)
            os.close(go_in)
            _work(job.buffer, step, (queue_out, ready_in, go_out, done_in))
            status = 0
        except OSError as error:
            os.write(2, f"worker: {error}\n".encode())
        finally:
            os._exit(status)
    for fd in (queue_out, ready_in, go_out, done_in):
        os.close(fd)
    for _ in range(job.workers):
        os.read(ready_out, 1)
    began = perf_counter()
    os.close(go_in)
    try:
        for index in range(count):
            os.write(queue_in, _INDEX.pack(index))
    except BrokenPipeError:
        pass  # every worker failed: their statuses say so
    os.close(queue_in)
    total = 0
    while record := os.read(done_out, 8):
        total += int.from_bytes(record, "little")
    seconds = perf_counter() - began
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(statuses):
        raise RuntimeError(f"{sum(map(bool, statuses))} of {job.workers} workers failed")
    return Sample(seconds=seconds, bytes=total, operations=count)


def _work(buffer_bytes: int, step: Step, pipes: tuple[int, int, int, int]) -> None:
    queue, ready, go, done = pipes
    with mmap.mmap(-1, buffer_bytes) as buffer:
        buffer[:] = b"\0" * buffer_bytes
        os.write(ready, b"r")
        os.read(go, 1)
        total = 0
        while record := os.read(queue, _INDEX.size):
            total += step(_INDEX.unpack(record)[0], buffer)
    os.write(done, total.to_bytes(8, "little"))


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.stdin.buffer.read(), type=ReadJob))))
