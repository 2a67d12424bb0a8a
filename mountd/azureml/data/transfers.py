"""Upload and download of datastores, with the lines on standard output that people's scripts parse.

The engine is `mountd.transfer`; a file's two lines come together, once it is complete, in the order in which files are
finished.
"""

import logging
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mountd.azureml import blocking
from mountd.azureml.errors import UserErrorException
from mountd.catalog.model import Location, StoreSpec
from mountd.catalog.source import DatastorePath, store_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from mountd.stores.base import Page, Store
    from mountd.transfer.progress import Progress
    from mountd.transfer.report import TransferReport

# Everything that imports trio is imported where it is needed: importing the API is light.
# ruff: noqa: PLC0415

FILES_AT_ONCE = 32
_LEADING = re.compile(r"^(\.*[/\\])*")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A datastore, or a directory in it."""

    store: StoreSpec
    datastore: str
    path: str = ""

    @property
    def location(self) -> Location:
        """For the parts below."""
        return Location(
            store=self.store, path=self.path, source=DatastorePath(datastore=self.datastore, path=self.path).uri
        )

    def below(self, target_path: str | None) -> "Place":
        """Return the directory `target_path` in it; leading dots and slashes mean nothing."""
        stripped = _LEADING.sub("", target_path or "").replace("\\", "/")
        return replace(self, path=store_path(stripped, self.location.source))


class _Lines:
    """Says what happens to each file."""

    def __init__(self, *, show: bool) -> None:
        self._show = show

    def say(self, line: str) -> None:
        """Print `line`."""
        if self._show:
            with suppress(OSError):  # whoever looked is gone; the transfer goes on
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()


def upload(place: Place, src_dir: str, target_path: str | None, *, overwrite: bool, show: bool) -> None:
    """Upload the directory `src_dir`.

    Raises:
        UserErrorException: it is none.
        MountdError: not all of it arrived.
    """
    if not os.path.isdir(src_dir):
        raise UserErrorException(f"src_path must be a directory. {src_dir!r} is none.")
    from mountd.modes.upload import upload as upload_mode
    from mountd.transfer.local_tree import LocalFile, walk
    from mountd.transfer.progress import Progress

    target = place.below(target_path)
    lines = _Lines(show=show)
    total = sum(isinstance(found, LocalFile) for found in walk(Path(src_dir), leave_out=None)) if show else 0
    told = _UploadTold(lines, total, local=lambda name: os.path.join(src_dir, name), target=target)
    lines.say(f"Uploading an estimated of {total} files")
    progress = Progress(on_file=told)
    report = blocking.run(lambda: upload_mode(Path(src_dir), target.location, overwrite=overwrite, progress=progress))
    report.check_complete(f"upload of {src_dir}")
    lines.say(f"Uploaded {report.files} files")


def upload_files(
    place: Place,
    files: list[str],
    relative_root: str | None,
    target_path: str | None,
    *,
    overwrite: bool,
    show: bool,
) -> None:
    """Upload `files`, each under its path below `relative_root`.

    Raises:
        UserErrorException: one is no file, or not below the root.
        MountdError: not all of them arrived.
    """
    relative = _relative_names(files, relative_root)
    target = place.below(target_path)
    lines = _Lines(show=show)
    lines.say(f"Uploading an estimated of {len(files)} files")
    local_of = {name: file for file, name in relative.items()}
    told = _UploadTold(lines, len(files), local=local_of.__getitem__, target=target)
    uploaded = blocking.run(lambda: _send_files(target, relative, told, overwrite=overwrite))
    lines.say(f"Uploaded {uploaded} files")


def download(place: Place, target_path: str, prefix: str | None, *, overwrite: bool, show: bool) -> int:
    """Download what begins with `prefix`; return how many files that were.

    Raises:
        MountdError: not all of it arrived.
    """
    from mountd.transfer.progress import Progress

    lines = _Lines(show=show)
    done = 0

    def told(name: str, transferred: bool) -> None:
        nonlocal done
        if not transferred:
            _log.warning("Path already exists. Skipping download for %s", os.path.join(target_path, name))
            return
        done += 1
        lines.say(f"Downloading {name}")
        lines.say(f"Downloaded {name}, {done} files out of an estimated total of {progress.files_found}")

    progress = Progress(on_file=told)
    wanted = _LEADING.sub("", prefix or "")
    reports = blocking.run(lambda: _fetch_prefix(place, wanted, Path(target_path), progress, overwrite=overwrite))
    for report in reports:
        _refuse_name_of_folder(report)
        report.check_complete(f"download of {place.location.source}")
    return sum(report.files for report in reports)


class _UploadTold:
    """Prints the lines of an upload; called for each file."""

    def __init__(self, lines: _Lines, total: int, *, local: "Callable[[str], str]", target: Place) -> None:
        self._lines = lines
        self._total = total
        self._local = local
        self._target = target
        self._done = 0

    def __call__(self, name: str, transferred: bool) -> None:
        """Tell of the file `name`, its path below the target."""
        if not transferred:
            self._total -= 1
            key = f"{self._target.path}/{name}" if self._target.path else name
            self._lines.say(f"Target already exists. Skipping upload for {key}")
            return
        self._done += 1
        local = self._local(name)
        self._lines.say(f"Uploading {local}")
        self._lines.say(f"Uploaded {local}, {self._done} files out of an estimated total of {self._total}")


def _relative_names(files: list[str], relative_root: str | None) -> dict[str, str]:
    for file in files:
        if not os.path.isfile(file):
            raise UserErrorException(
                f"'{file}' does not point to a file. Please upload the file to cloud first if running in a cloud "
                "notebook."
            )
    if relative_root is None:
        directories = [os.path.dirname(os.path.abspath(file)) for file in files]
        root = os.path.commonpath(directories) if directories else ""
        relative = {file: os.path.relpath(os.path.abspath(file), root) for file in files}
    else:
        root = os.path.abspath(relative_root)
        relative = {}
        for file in files:
            whole = os.path.abspath(file)
            if not whole.startswith(root.rstrip("/") + "/"):
                raise UserErrorException(f"relative_root: '{relative_root}' is not part of the file_path: '{file}'.")
            relative[file] = os.path.relpath(whole, root)
    return relative


async def _send_files(place: Place, relative: dict[str, str], told: _UploadTold, *, overwrite: bool) -> int:
    import trio

    from mountd.aio.retry import UNREACHED_S, RetryPolicy
    from mountd.stores.open import open_store
    from mountd.transfer.crew import run_together
    from mountd.transfer.progress import Progress
    from mountd.transfer.upload import upload_tree

    store = open_store(place.store, policy=RetryPolicy(unreached_s=UNREACHED_S))
    waiting = iter(relative.items())
    uploaded = 0

    async def work() -> None:
        nonlocal uploaded
        for file, name in waiting:
            progress = Progress(on_file=partial(_under, name, told))
            key = f"{place.path}/{name}" if place.path else name
            report = await upload_tree(Path(file), store, key, overwrite=overwrite, progress=progress)
            report.check_complete(f"upload of {file}")
            uploaded += report.files

    try:
        await run_together([work] * min(len(relative), FILES_AT_ONCE))
    finally:
        with trio.move_on_after(2, shield=True):
            await store.aclose()
    return uploaded


def _under(name: str, told: "Callable[[str, bool], None]", _: str, transferred: bool) -> None:
    """Tell of one file by its path below the target, which the transfer of it alone does not know."""
    told(name, transferred)


async def _fetch_prefix(
    place: Place, prefix: str, target: Path, progress: "Progress", *, overwrite: bool
) -> "list[TransferReport]":
    import trio

    from mountd.aio.retry import UNREACHED_S, RetryPolicy
    from mountd.stores.open import open_store
    from mountd.transfer.download import download_tree

    store = open_store(place.store, policy=RetryPolicy(unreached_s=UNREACHED_S))
    reports: list[TransferReport] = []
    try:
        if not prefix:
            return [await download_tree(store, "", target, overwrite=overwrite, progress=progress)]
        for key, is_directory in await _begins_with(store, store_path_of(prefix), prefix.endswith("/")):
            below = key if is_directory else key.rpartition("/")[0]
            reports.append(await download_tree(store, key, target / below, overwrite=overwrite, progress=progress))
    finally:
        with trio.move_on_after(2, shield=True):
            await store.aclose()
    return reports


def store_path_of(prefix: str) -> str:
    """Return `prefix` without what means nothing in a key."""
    return store_path(prefix, prefix)


async def _begins_with(store: "Store", prefix: str, whole: bool) -> list[tuple[str, bool]]:
    """Return the objects and directories whose names begin with `prefix`, or are it; true for a directory."""
    from mountd.stores.pages import each_page

    parent, _, beginning = prefix.rpartition("/")
    found: dict[str, bool] = {}

    def look(page: "Page", _asked_at: float) -> None:
        found.update({info.key: False for info in page.objects if info.key not in found})
        found.update(dict.fromkeys(page.directories, True))  # a name that is both: the directory has the object too

    await each_page(store, parent, look)
    above = f"{parent}/" if parent else ""
    return [
        (key, is_directory)
        for key, is_directory in sorted(found.items())
        if key == prefix or (not whole and key.startswith(above + beginning))
    ]


def _refuse_name_of_folder(report: "TransferReport") -> None:
    from mountd.transfer.plan import FILE_AND_DIRECTORY

    for problem in report.problems:
        if problem.reason == FILE_AND_DIRECTORY:
            raise RuntimeError(f"Found non empty file {problem.name} that has the same name as a folder.")
