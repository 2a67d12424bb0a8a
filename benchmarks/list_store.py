"""List a container with mountd's own store, page by page, with nothing of a file system around it.

`python -m benchmarks.list_store` takes one job on standard input and prints a `Sample`.
"""

import os
import sys
from pathlib import Path
from time import perf_counter

import msgspec
import trio

from benchmarks.jobs import Sample
from mountd.aio.retry import RetryPolicy
from mountd.catalog.resolve import resolve
from mountd.stores.open import open_store


class ListJob(msgspec.Struct, kw_only=True):
    """What to list."""

    url: str


async def run(job: ListJob) -> Sample:
    """Do `job`; opening the store is not timed, its first connection is."""
    location = resolve(job.url, workspace=None, environ={}, cwd=Path(os.getcwd()))
    store = open_store(location.store, policy=RetryPolicy(deadline_s=60))
    try:
        began = perf_counter()
        found, marker = 0, None
        while True:
            page = await store.list_page(location.path, marker)
            found += len(page.objects) + len(page.directories)
            marker = page.next
            if marker is None:
                return Sample(seconds=perf_counter() - began, operations=found)
    finally:
        await store.aclose()


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=ListJob)
    sys.stdout.buffer.write(msgspec.json.encode(trio.run(run, asked)))
