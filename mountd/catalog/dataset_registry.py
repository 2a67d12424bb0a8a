"""The datasets that a workspace keeps: registered under a name with versions, or under an id alone.

```
.azureml/data/<name>/<version>.yml          the definition (`catalog.dataset_yaml`)
.azureml/data/<name>/<version>.<id>.listing its files, pinned (`catalog.packed_listing`)
.azureml/data/.definitions/<id>.yml         one that was never registered
.azureml/data/.lock                         held by who updates or removes a version
```

- A version never changes what it stands for: its paths are fixed when it is registered, its files when it is pinned.
- A version's file appears whole or not at all and never replaces another one, so that of many who register at once each
  gets a version of its own.
- Description and tags may change. Who changes them starts from what is there, one after the other.
- Nothing here talks to storage. Blocking: for the command line and start-up.
"""

import contextlib
import hashlib
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from mountd.catalog.atomic_files import DIRECTORY_MODE, file_errors, in_turn, sync_directory, write_file
from mountd.catalog.dataset import DatasetDefinition
from mountd.catalog.dataset_yaml import RegisteredDataset, decode_registered, encode_registered, listing_of
from mountd.catalog.workspace import Workspace
from mountd.errors import ExistsError, NotFoundError, UsageError

LATEST = "latest"
NAME_RULE = "letters, digits, `.`, `_` and `-`, the first one a letter or a digit, 255 at most"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,29}")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNNAMED = ".definitions"
_LOCK = ".lock"
_NAMESPACE = uuid.UUID("6f0b8a5e-6c1f-4d0e-9a55-0c6a6f2f3b1d")


class Registration(NamedTuple):
    """What came of `register`."""

    dataset: RegisteredDataset
    made: bool
    """False: an identical definition was registered under this name before, and is what is returned."""
    updated: bool = False
    """That one got the description and the tags that were given."""


def check_name(name: str) -> None:
    """See that a dataset may have this name.

    Raises:
        UsageError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"dataset {name!r}: is no dataset's name: it is {NAME_RULE}")


@dataclass(frozen=True, slots=True)
class DatasetRegistry:
    """The datasets of a workspace. Reads its files anew at every call."""

    workspace: Workspace

    @property
    def directory(self) -> Path:
        """`.azureml/data`."""
        return self.workspace.directory / "data"

    # ---- finding

    def names(self) -> list[str]:
        """Return the names of all registered datasets, sorted."""
        with file_errors(self.directory):
            if not self.directory.is_dir():
                return []
            return sorted(entry.name for entry in self.directory.iterdir() if self._versions_of(entry))

    def versions(self, name: str) -> list[RegisteredDataset]:
        """Return all versions of `name`, the oldest first.

        Raises:
            NotFoundError: there is none of that name.
        """
        found = [self._read(name, version) for version in self._versions_of(self._place(name))]
        if not found:
            known = ", ".join(self.names()) or "none"
            raise NotFoundError(
                f'Cannot find dataset registered with name "{name}" in the workspace.',
                hint=f"({self.workspace.root} has: {known})",
            )
        return sorted(found, key=_age)

    def get(self, name: str, version: str | None = None) -> RegisteredDataset:
        """Return a version of `name`; None or `latest` is the one that was registered last.

        Raises:
            NotFoundError: there is none.
            UsageError: its file is malformed.
        """
        found = self.versions(name)
        if version in (None, LATEST):
            return found[-1]
        for dataset in found:
            if dataset.version == version:
                return dataset
        there = ", ".join(str(dataset.version) for dataset in found)
        raise NotFoundError(
            f'Cannot find dataset registered with name "{name}" (version: {version}) in the workspace.',
            hint=f"(there are: {there})",
        )

    def find(self, name: str, version: str | None = None) -> RegisteredDataset:
        """Return what `azureml:NAME[:VERSION]` means: as `get`, and where no dataset has the name, that of this id.

        Raises:
            NotFoundError: there is none.
            UsageError: its file is malformed.
        """
        if version is None and _ID.fullmatch(name) and not self._versions_of(self._place(name)):
            return self.get_by_id(name)
        return self.get(name, version)

    def get_by_id(self, identifier: str) -> RegisteredDataset:
        """Return the dataset with this id, registered or not.

        Raises:
            NotFoundError: there is none.
        """
        wanted = identifier.lower()
        unnamed = self._unnamed(wanted) if _ID.fullmatch(wanted) else None
        if unnamed is not None and unnamed.is_file():
            return decode_registered(unnamed)
        for name in self.names():
            for dataset in self.versions(name):
                if dataset.id == wanted:
                    return dataset
        raise NotFoundError(
            f'Cannot find dataset with id "{identifier}" in the workspace.', hint=f"({self.workspace.root})"
        )

    def latest(self) -> list[RegisteredDataset]:
        """Return the latest version of each name, sorted by name."""
        return [self.get(name) for name in self.names()]

    def identical(self, definition: DatasetDefinition, name: str) -> RegisteredDataset | None:
        """Return the latest version of `name` that has this definition."""
        known = self.versions(name) if self._versions_of(self._place(name)) else []
        return _identical(known, definition, None)

    # ---- changing

    def register(
        self,
        definition: DatasetDefinition,
        name: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
        new_version: bool = False,
        even_if_identical: bool = False,
    ) -> Registration:
        """Keep `definition` under `name`, as version 1 or, with `new_version`, as the next one.

        Of an identical one that is there only description and tags change, as far as they are given.

        Args:
            definition: where its files are.
            name: by `NAME_RULE`.
            description: for people.
            tags: for people; they add to those that are there.
            version: a version of one's own choice; the next number if left out.
            new_version: the name may be taken already.
            even_if_identical: with `new_version`, do not look for an identical one: that one's files were changed.

        Raises:
            ExistsError: the name is taken by another definition and `new_version` is false, or the version is taken.
            UsageError: name or version cannot be used.
        """
        place = self._place(name)
        if version is not None and (not _VERSION.fullmatch(version) or version == LATEST):
            raise UsageError(f"dataset {name}: {version!r} is no version: write for example 1 or 2026-01-31")
        while True:
            there = self._versions_of(place)
            known = self.versions(name) if there else []
            same = None if even_if_identical else _identical(known, definition, version)
            if same is not None:
                return self._described(same, description, tags or {})
            if known and not new_version and version is None:
                raise ExistsError(
                    f'There is already a dataset registered under name "{name}". '
                    "Specify `create_new_version=True` to register the dataset as a new version.",
                    hint="(On the command line: --new-version.)",
                )
            number = version or str(1 + max((int(text) for text in there if text.isdecimal()), default=0))
            identifier = str(uuid.uuid4())
            made = RegisteredDataset(
                id=identifier,
                name=name,
                version=number,
                description=description,
                tags=dict(tags or {}),
                created=datetime.now(UTC),
                definition=definition,
                listing=listing_of(place / f"{number}.yml", identifier),
            )
            if self._write(place / f"{number}.yml", made):
                return Registration(made, made=True)
            if version is not None:
                raise ExistsError(f"dataset {name}: version {version} exists and never changes; choose another")

    def _described(self, dataset: RegisteredDataset, description: str | None, tags: Mapping[str, str]) -> Registration:
        """Give `dataset` the description and the tags that it lacks."""

        def completed(found: RegisteredDataset) -> RegisteredDataset:
            said = found.description if description is None else description
            return msgspec.structs.replace(found, description=said, tags={**found.tags, **tags})

        if completed(dataset) == dataset:
            return Registration(dataset, made=False)
        return Registration(self.update(dataset, completed), made=False, updated=True)

    def save(self, definition: DatasetDefinition, *, even_if_identical: bool = False) -> RegisteredDataset:
        """Keep `definition` under an id alone.

        Identical ones share it, unless `even_if_identical`: then the files of the one that is there were changed.
        """
        digest = hashlib.sha256(definition.digest.encode()).hexdigest()
        latest, number = None, 0
        identifier = str(uuid.uuid5(_NAMESPACE, digest))
        while self._unnamed(identifier).is_file():
            latest, number = identifier, number + 1
            identifier = str(uuid.uuid5(_NAMESPACE, f"{digest} {number}"))
        if latest is not None and not even_if_identical:
            return self.get_by_id(latest)
        path = self._unnamed(identifier)
        made = RegisteredDataset(
            id=identifier,
            name=None,
            version=None,
            description=None,
            tags={},
            created=datetime.now(UTC),
            definition=definition,
            listing=listing_of(path, identifier),
        )
        return made if self._write(path, made) else self.get_by_id(identifier)

    def update(
        self, dataset: RegisteredDataset, change: Callable[[RegisteredDataset], RegisteredDataset]
    ) -> RegisteredDataset:
        """Give a version another description or other tags, and return it.

        Args:
            dataset: as it was read some time ago.
            change: is called with what it is now, and sets `description` and `tags` in it.

        Raises:
            NotFoundError: it was removed meanwhile.
        """
        name, version = str(dataset.name), str(dataset.version)
        with file_errors(self.directory), in_turn(self.directory / _LOCK):
            found = self.get(name, version)
            if found.id != dataset.id:
                raise NotFoundError(f'Cannot find dataset with id "{dataset.id}" in the workspace.')
            changed = change(found)
            write_file(self._place(name) / f"{version}.yml", encode_registered(changed), overwrite=True)
        return changed

    def remove(self, name: str, version: str | None = None) -> list[RegisteredDataset]:
        """Forget a version, or all of them, and return what was forgotten; the files themselves stay.

        Raises:
            NotFoundError: there is none.
        """
        place = self._place(name)
        self.get(name, version)
        with file_errors(place), in_turn(self.directory / _LOCK):
            gone = self.versions(name) if version is None else [self.get(name, version)]
            for dataset in gone:
                (place / f"{dataset.version}.yml").unlink(missing_ok=True)
                dataset.listing.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                place.rmdir()  # unless somebody registers one right now
            sync_directory(self.directory)
        return gone

    # ---- files

    def _place(self, name: str) -> Path:
        check_name(name)
        return self.directory / name

    def _unnamed(self, identifier: str) -> Path:
        return self.directory / _UNNAMED / f"{identifier}.yml"

    def _versions_of(self, place: Path) -> list[str]:
        with file_errors(place):
            if not _NAME.fullmatch(place.name) or not place.is_dir():
                return []
            return [entry.stem for entry in place.glob("*.yml") if _VERSION.fullmatch(entry.stem)]

    def _read(self, name: str, version: str) -> RegisteredDataset:
        path = self._place(name) / f"{version}.yml"
        dataset = decode_registered(path)
        if (dataset.name, dataset.version) != (name, version):
            raise UsageError(f"{path}: is of {dataset.title}, but its place says {name}:{version}")
        return dataset

    def _write(self, path: Path, dataset: RegisteredDataset) -> bool:
        """Write a new file; False: another was faster."""
        with file_errors(path):
            while True:
                for parent in (self.directory, path.parent):
                    parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
                try:
                    write_file(path, encode_registered(dataset), overwrite=False)
                except FileExistsError:
                    return False
                except FileNotFoundError:
                    if path.parent.is_dir():
                        raise
                    continue  # the last other version was removed at this moment, and the directory with it
                return True


def _identical(
    known: Sequence[RegisteredDataset], definition: DatasetDefinition, version: str | None
) -> RegisteredDataset | None:
    for dataset in reversed(known):
        if dataset.definition.digest == definition.digest and version in (None, dataset.version):
            return dataset
    return None


def _age(dataset: RegisteredDataset) -> tuple[datetime, int]:
    version = dataset.version or ""
    return dataset.created, int(version) if version.isdecimal() else 0
