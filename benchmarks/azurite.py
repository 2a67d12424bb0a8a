"""The Azurite emulator as a store, for the record: it is the ceiling itself, so only ratios beside it mean anything."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from azure.storage.blob import ContainerClient

from benchmarks.jobs import PROJECT
from benchmarks.origin.process import Dataset, Origin

_PROGRAM = PROJECT / ".tools/azurite/node_modules/.bin/azurite-blob"
_LISTENING = re.compile(rb"successfully listens on (http://127\.0\.0\.1:(\d+))")
_BLOCK = 8 << 20


@contextmanager
def running_azurite(content: Origin, *datasets: Dataset) -> Iterator[int]:
    """Start an Azurite that keeps everything in memory, copy `datasets` of `content` into it, and give its port."""
    if not _PROGRAM.exists():
        raise RuntimeError(f"{_PROGRAM} is missing; run scripts/setup")
    command = [str(_PROGRAM), "--blobHost", "127.0.0.1", "--blobPort", "0"]
    command += ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            found = next((match for line in process.stdout if (match := _LISTENING.search(line))), None)
            if found is None:
                raise RuntimeError("Azurite ended before it listened")
            for dataset in datasets:
                _copy(f"{found[1].decode()}/{Origin.account}", content, dataset)
            yield int(found[2])
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _copy(url: str, content: Origin, dataset: Dataset) -> None:
    with ContainerClient(
        url, dataset.container, credential=Origin.key, max_single_put_size=_BLOCK, max_block_size=_BLOCK
    ) as container:
        container.create_container()
        for index in range(dataset.count):
            key = dataset.pattern.format(index=index, group=0)
            pieces = (
                content.expected(dataset.container, key, start, min(_BLOCK, dataset.size - start))
                for start in range(0, dataset.size, _BLOCK)
            )
            container.upload_blob(key, pieces, length=dataset.size)
