"""What a run does to data, for real: mounts through the client, transfers in this process."""

import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import trio
from pathspec import GitIgnoreSpec

from mountd.aio.threads import Lane
from mountd.catalog.model import DatasetSpec, Location, known_to_be_pinned
from mountd.catalog.resolve import resolve
from mountd.catalog.workspace import Workspace
from mountd.client import api
from mountd.client.filling import wait_filled
from mountd.config.config_file import read_config
from mountd.config.options import settle
from mountd.config.strict_yaml import read_text
from mountd.errors import MountdError, SetupError, UnsafeError, UsageError
from mountd.modes.mount_spec import SINGLE_FILE, MountSpec
from mountd.observe.statistics import MountStatistics
from mountd.run.kind import DataKind, check_kind
from mountd.run.mltable import FILE_NAME, evaluate
from mountd.transfer.display import LINE_EVERY_S, line
from mountd.transfer.progress import Progress, Rate

T = TypeVar("T")
_REMOVE_WITHIN_S = 10.0


class NodeOperations:
    """Data operations on this node; see `run.operations.DataOperations`."""

    def __init__(
        self,
        environ: Mapping[str, str],
        say: Callable[[str], None],
        workspace: Workspace | None = None,
        *,
        owner_pid: int | None = None,
    ) -> None:
        """Take the context of a run.

        Args:
            environ: holds the variables that tune mounts.
            say: takes lines about transfers that take long.
            workspace: where what an MLTable names is looked up.
            owner_pid: the process with whose end mounts end that are there still.
        """
        self._environ = environ
        self._say = say
        self._workspace = workspace
        self._owner_pid = owner_pid
        self._lane = Lane("mounts", 16)

    async def evaluate(self, location: Location) -> Location:
        """Fetch the MLTable's file and read it."""

        def find(source: str) -> Location:
            return resolve(source, workspace=self._workspace, environ=self._environ, cwd=Path("/"))

        file = msgspec.structs.replace(location, path=f"{location.path}/{FILE_NAME}".strip("/"))
        directory = Path(await self._lane.run(tempfile.mkdtemp))
        try:
            fetched = await self.download(file, directory)
            if fetched is None:
                raise UsageError(f"{location.source}/{FILE_NAME}: is a directory")
            text = await self._lane.run(read_text, fetched)
        finally:
            with trio.move_on_after(_REMOVE_WITHIN_S, shield=True):  # one small file
                await self._lane.run(partial(shutil.rmtree, directory, ignore_errors=True))
        return await self._lane.run(evaluate, text, location, find)

    async def mount(self, name: str, location: Location, mountpoint: Path) -> None:
        """Mount with the options that environment and files give; a dataset that was never used is pinned first."""
        location = await self._pinned(location)
        options = settle({}, [], self._environ, read_config(self._environ), datastore_ttl_s=location.attr_ttl_s)
        real = await self._lane.run(api.real_mountpoint, mountpoint)
        spec = MountSpec(name=name, mountpoint=real, location=location, options=options, eager=True)
        await self._lane.run(partial(api.mount, spec, owner_pid=self._owner_pid))
        if options.mode == "download":
            try:
                await self._lane.run(lambda: wait_filled(real, lambda _: None))
            except MountdError:
                await self._lane.run(lambda: api.unmount(real, lazy=True))
                raise

    async def find_single_file(self, location: Location, mountpoint: Path) -> Path | None:
        """Look at the mount, and ask it where that does not tell."""
        return await self._lane.run(_single_file, mountpoint, location)

    async def troubles(self, mountpoint: Path) -> list[str]:
        """Ask the mount."""
        return await self._lane.run(_troubles, mountpoint)

    async def unmount(self, mountpoint: Path, *, lazy: bool) -> None:
        """Unmount."""
        await self._lane.run(lambda: api.unmount(mountpoint, lazy=lazy))

    async def download(self, location: Location, target: Path, kind: DataKind | None = None) -> Path | None:
        """Download, replacing files of the same names: the command is to see what the source holds now."""
        from mountd.modes.download import download  # noqa: PLC0415 - storage libraries: half a second

        def on_found(is_file: bool) -> None:
            if kind is not None:
                check_kind(kind, location.source, is_file=is_file)

        report = await self._telling(
            f"downloading {location.source}",
            lambda progress: download(location, target, overwrite=True, progress=progress, on_found=on_found),
        )
        report.check_complete(f"download of {location.source}")
        return report.single_file

    async def upload(
        self, source: Path, location: Location, *, overwrite: bool = True, globs: Sequence[str] = ()
    ) -> int:
        """Upload; what is not replaced has not arrived, whatever it holds."""
        from mountd.modes.upload import upload  # noqa: PLC0415 - as above

        wanted = GitIgnoreSpec.from_lines(globs).match_file if globs else None
        report = await self._telling(
            f"uploading to {location.source}",
            lambda progress: upload(source, location, overwrite=overwrite, progress=progress, wanted=wanted),
        )
        report.check_complete(f"upload to {location.source}")
        if report.skipped:
            raise UnsafeError(
                f"{location.source} has {report.skipped} of its files already, and they are not to be replaced: "
                f"overwrite is off; what the command wrote is still at {source}"
            )
        return report.files

    async def _pinned(self, location: Location) -> Location:
        store = location.store
        if not isinstance(store, DatasetSpec) or store.listing is None:
            return location
        if not await self._lane.run(Path(store.listing).exists):
            from mountd.modes.datasets import listing_of  # noqa: PLC0415 - as above

            await listing_of(store)
        return known_to_be_pinned(location)

    async def _telling(self, verb: str, work: Callable[[Progress], Awaitable[T]]) -> T:
        """Return what `work` does, saying now and then how far it is."""
        progress = Progress()

        async def tell() -> None:
            rate = Rate()
            rate.sample(trio.current_time(), 0)
            while True:
                await trio.sleep(LINE_EVERY_S)
                self._say(f"mountd: {line(progress, verb, rate.sample(trio.current_time(), progress.moved))}")

        outcome: T | MountdError
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            try:
                outcome = await work(progress)
            except MountdError as error:  # through the nursery it would come out as a group
                outcome = error
            nursery.cancel_scope.cancel()
        if isinstance(outcome, MountdError):
            raise outcome
        return outcome


def _troubles(mountpoint: Path) -> list[str]:
    """Return what users of the mount got errors for; blocks for seconds at most."""
    try:
        record = api.status(mountpoint)[0]
    except MountdError:
        return []
    lines = []
    if record.statistics:
        for refused in msgspec.convert(record.statistics, MountStatistics).refused:
            what = "changed in the store" if refused.changed else "could not be read"
            lines.append(f"file '{refused.path}' {what} ({refused.why})")
    if record.restarts:
        lines.append(f"its mount broke down and was set up anew ({record.last_error})")
    return lines


def _single_file(mountpoint: Path, location: Location) -> Path | None:
    """Return the path of the file if `location` is a single file; blocks."""
    if not location.path and not isinstance(location.store, DatasetSpec):
        return None
    try:
        with os.scandir(mountpoint) as entries:
            first = next(entries, None)
            if first is None or next(entries, None) is not None or not first.is_file():
                return None
    except OSError as error:
        raise SetupError(f"{location.source}: mounted, but its root cannot be listed: {error.strerror}") from error
    # It may also be a directory that happens to hold one file: the mount itself knows.
    record = api.status(mountpoint)[0]
    if not record.details:
        raise SetupError(f"{location.source}: mounted, but the mount does not say whether it is one file")
    return mountpoint / first.name if SINGLE_FILE in record.details else None
