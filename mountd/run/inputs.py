"""The inputs of a run: mounted or downloaded side by side before the command, taken down after it.

Owns the run's own directory and knows every mount that was made. A mount under way is never abandoned: it is taken to
its end, so that it can be unmounted.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import trio

from mountd.aio.threads import Lane
from mountd.errors import BusyError, MountdError, NotFoundError, UnavailableError
from mountd.run.child import Command
from mountd.run.directory import RunDirectory, put_in_place_of_directory
from mountd.run.environment import Mode, Presented
from mountd.run.failures import ERROR_MARK, PreparationError
from mountd.run.kind import check_kind
from mountd.run.operations import DataOperations
from mountd.run.plan import Input, RunPlan

_LEFTOVER_GRACE_S = 3.0
"""How long what the command left behind may take to end, once it keeps a mount busy."""
_UNMOUNT_DEADLINE_S = 90.0
"""Above every deadline inside an unmount: ends the wait for one that is broken."""
_TROUBLES_SHOWN = 3
"""Of one input; one trouble of a store shows at many files."""

_REMOVE_DEADLINE_S = 600.0
"""A download of a million small files takes its time to remove."""


class Inputs:
    """The inputs of one run."""

    def __init__(self, plan: RunPlan, operations: DataOperations, lane: Lane, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._operations = operations
        self._lane = lane
        self._say = say
        self._directory: RunDirectory | None = None
        self._mounted: dict[Path, str] = {}
        """Names of inputs by mount point."""

    async def present(self) -> list[Presented]:
        """Return the inputs, all of them ready, in the plan's order.

        Raises:
            PreparationError: one failed; it is named, and the others were given up.
        """
        targets = [await self._target(item) for item in self._plan.inputs]
        ready: dict[str, Presented] = {}
        failures: list[PreparationError] = []

        async with trio.open_nursery() as nursery:

            async def present_one(item: Input, target: Path) -> None:
                try:
                    single_file = await self._present(item, target)
                except MountdError as error:
                    failures.append(PreparationError(f"input {item.name!r}: {error.message}"))
                    nursery.cancel_scope.cancel()
                else:
                    ready[item.name] = Presented(name=item.name, mode=item.mode, path=str(single_file or target))

            for item, target in zip(self._plan.inputs, targets, strict=True):
                self._announce(item, target)
                nursery.start_soon(present_one, item, target)

        for failure in failures[1:]:
            self._say(f"{ERROR_MARK}{failure.message}")
        if failures:
            raise failures[0]
        return [ready[item.name] for item in self._plan.inputs]

    async def troubles(self) -> list[str]:
        """Return what the command got errors for, a line each that names the input; a few for each input."""
        found: dict[str, list[str]] = {}

        async def ask(mount_point: Path, name: str) -> None:
            lines = await self._operations.troubles(mount_point)
            if len(lines) > _TROUBLES_SHOWN:
                lines = [*lines[:_TROUBLES_SHOWN], f"and {len(lines) - _TROUBLES_SHOWN} more"]
            found[name] = [f"input {name!r}: {line}" for line in lines]

        async with trio.open_nursery() as nursery:
            for mount_point, name in self._mounted.items():
                nursery.start_soon(ask, mount_point, name)
        return [line for item in self._plan.inputs for line in found.get(item.name, [])]

    async def take_down(self, command: Command | None) -> MountdError | None:
        """Unmount everything and remove the run's own directory; return the first failure.

        Args:
            command: whose leftovers are ended if they keep a mount busy.
        """
        failures: list[MountdError] = []
        async with trio.open_nursery() as nursery:
            for mount_point in self._mounted:
                nursery.start_soon(self._take_down_one, mount_point, command, failures)
        if self._directory is not None:
            with trio.move_on_after(_REMOVE_DEADLINE_S):
                await self._lane.run(self._directory.remove)
        return failures[0] if failures else None

    async def _target(self, item: Input) -> Path:
        own = self._plan.own_directory
        if item.path is not None and item.mode is Mode.DOWNLOAD and (own is None or not item.path.is_relative_to(own)):
            return item.path  # to stay where the user wants it
        try:
            directory = self._directory or await self._make_directory()
            if item.path is not None:
                take = directory.take_mount_point if item.mode is Mode.MOUNT else directory.take_download_target
                await self._lane.run(take, item.path)
                return item.path
            place = directory.mount_point if item.mode is Mode.MOUNT else directory.download_target
            return await self._lane.run(place, item.name)
        except OSError as error:
            raise PreparationError(f"input {item.name!r}: no directory for it: {error}") from error

    async def _make_directory(self) -> RunDirectory:
        with trio.CancelScope(shield=True):  # what is made must become known, to be removed
            made = await self._lane.run(RunDirectory.create, self._plan.runs_directory, self._plan.identifier)
        self._directory = made
        return made

    def _announce(self, item: Input, target: Path) -> None:
        self._say(f"Processing '{item.name}'.")
        self._say(f"Mode: '{item.mode}'.")
        if item.announcement is not None:
            self._say(item.announcement)
        if item.mode is Mode.MOUNT:
            self._say(f"Mounting {item.name} to {target}.")
        else:
            self._say(f"Downloading {item.name} to {target}. Overwrite is set to True")

    async def _present(self, item: Input, target: Path) -> Path | None:
        """Mount or download; return the path of the file if the source is a single file."""
        if item.evaluate:
            item = replace(item, location=await self._operations.evaluate(item.location))
        return await (self._mount if item.mode is Mode.MOUNT else self._download)(item, target)

    async def _mount(self, item: Input, target: Path) -> Path | None:
        with trio.CancelScope(shield=True):  # it has its own deadline
            await self._operations.mount(f"{self._plan.identifier}-{item.name}", item.location, target)
            self._mounted[target] = item.name
        single_file = await self._operations.find_single_file(item.location, target)
        if item.kind is not None:
            check_kind(item.kind, item.location.source, is_file=single_file is not None)
        self._say(f"Mounted {item.name} to {target} as {'single file' if single_file else 'folder'}.")
        return single_file

    async def _download(self, item: Input, target: Path) -> Path | None:
        single_file = await self._operations.download(item.location, target, item.kind)
        if single_file is not None and item.includes_name and item.path is not None:
            try:
                await self._lane.run(put_in_place_of_directory, single_file)
            except OSError as error:
                raise UnavailableError(f"{target}: cannot become the file: {error.strerror}") from error
            single_file = target
        self._say(f"Downloaded {item.name} to {target} as {'single file' if single_file else 'folder'}.")
        return single_file

    async def _take_down_one(self, mount_point: Path, command: Command | None, failures: list[MountdError]) -> None:
        self._say(f"Unmounting {mount_point}.")
        try:
            with trio.fail_after(_UNMOUNT_DEADLINE_S):
                await self._unmount(mount_point, command)
        except NotFoundError:
            pass  # somebody unmounted it meanwhile
        except (MountdError, trio.TooSlowError) as error:
            reason = error.message if isinstance(error, MountdError) else f"no end after {_UNMOUNT_DEADLINE_S:g} s"
            failure = UnavailableError(f"{mount_point} is still mounted: {reason}; try `mountd unmount --lazy`")
            self._say(f"{ERROR_MARK}{failure.message}")
            failures.append(failure)
            return
        self._say(f"Finishing unmounting {mount_point}.")

    async def _unmount(self, mount_point: Path, command: Command | None) -> None:
        try:
            return await self._operations.unmount(mount_point, lazy=False)
        except BusyError:
            # What the command left behind in its process group has no business without its data.
            if command is not None:
                await command.end_leftovers(_LEFTOVER_GRACE_S)
        try:
            return await self._operations.unmount(mount_point, lazy=False)
        except BusyError as busy:
            self._say(f"mountd: warning: detaching it all the same: {busy.message}")
        return await self._operations.unmount(mount_point, lazy=True)
