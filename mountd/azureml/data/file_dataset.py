"""File datasets: files of any kind, listed, downloaded, mounted, or given to a run."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mountd.azureml import blocking
from mountd.azureml.absent import absent
from mountd.azureml.data.abstract_dataset import AbstractDataset, seed_or_random
from mountd.azureml.data.dataset_consumption_config import DatasetConsumptionConfig
from mountd.azureml.data.dataset_expression import DatasetExpression, FileColumn
from mountd.azureml.data.mount_context import MountContext, check_mount_point
from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.catalog.model import DatasetSpec
from mountd.catalog.selection import Filter, Part, Sample, Skip, Step, Take

if TYPE_CHECKING:
    from mountd.catalog.packed_listing import PackedListing

# Everything that imports trio is imported where it is needed: importing the API is light.
# ruff: noqa: PLC0415


class FileDataset(AbstractDataset):
    """A dataset of files."""

    _has_files = True

    def to_path(self) -> list[str]:
        """Return the path of each file in the dataset, beginning with a slash.

        Raises:
            AzureMLException: its sources cannot be listed.
        """
        return list(self._listing().runtime_paths())

    @as_api_errors()
    def download(
        self, target_path: str | None = None, overwrite: bool = False, ignore_not_found: bool = False
    ) -> list[str]:
        """Download all files and return where each is.

        Args:
            target_path: the directory, made if missing; a new one in the temp dir if left out.
            overwrite: replace files that exist; without it one that exists is an error, before anything is done.
            ignore_not_found: leave out files that are gone.

        Raises:
            UserErrorException: a file exists, or not all of it arrived; names a file and why.
            AzureMLException: its sources cannot be listed.
        """
        from mountd.modes.download import download
        from mountd.transfer.progress import Progress

        target = os.path.abspath(tempfile.mkdtemp() if target_path is None else target_path)
        wanted = [os.path.join(target, path) for path in self._listing().paths()]
        if not overwrite:
            for path in wanted:
                if os.path.lexists(path):
                    raise UserErrorException(
                        f'File "{path}" already exists. Set overwrite=True to overwrite it, or choose an empty target '
                        "path."
                    )
        location = self.location()
        report = blocking.run(lambda: download(location, Path(target), overwrite=True, progress=Progress()))
        if not ignore_not_found or report.problem_count > report.missing_count:
            telling = [problem for problem in report.problems if not (ignore_not_found and problem.missing)]
            replace(report, problems=tuple(telling) or report.problems).check_complete(f"download of {location.source}")
        gone = {os.path.join(target, problem.name) for problem in report.problems if problem.missing}
        return [path for path in wanted if path not in gone and os.path.lexists(path)]

    def mount(self, mount_point: str | None = None, **kwargs: Any) -> MountContext:
        """Return a context that mounts the files: `with`, or `start()` and `stop()`.

        The mount ends at the latest with this process, however that ends.

        Args:
            mount_point: an empty directory, made if missing; a new one in the temp dir if left out.
            kwargs: `mount_options`, of which there are none here.

        Raises:
            UserErrorException: the mount point cannot be used, or this machine has no FUSE.
        """
        kwargs.pop("mount_options", None)
        if kwargs:
            raise UserErrorException(f"mount() of mountd takes no {next(iter(kwargs))}.")
        made = mount_point is None
        point = tempfile.mkdtemp() if mount_point is None else os.path.abspath(mount_point)
        check_mount_point(point)
        return MountContext(self.location(), point, remove=made)

    def as_named_input(self, name: str) -> DatasetConsumptionConfig:
        """Return the dataset as the input `name` of a run.

        Raises:
            UserErrorException: `name` cannot be an input's.
        """
        return DatasetConsumptionConfig(name, self)

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """Return the dataset as an input of a run that mounts it."""
        return DatasetConsumptionConfig.unnamed(self, "mount", path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """Return the dataset as an input of a run that downloads it."""
        return DatasetConsumptionConfig.unnamed(self, "download", path_on_compute)

    def take(self, count: int) -> "FileDataset":
        """Return a dataset of the first `count` files."""
        return self._with(Take(_count(count)))

    def skip(self, count: int) -> "FileDataset":
        """Return a dataset without the first `count` files."""
        return self._with(Skip(_count(count)))

    def take_sample(self, probability: float, seed: int | None = None) -> "FileDataset":
        """Return a dataset that has each file with this probability; the same ones for one seed."""
        return self._with(Sample(_fraction(probability, "probability"), seed_or_random(seed)))

    def random_split(self, percentage: float, seed: int | None = None) -> "tuple[FileDataset, FileDataset]":
        """Return two datasets: about `percentage` (0 to 1) of the files, and all others."""
        at, drawn = _fraction(percentage, "percentage"), seed_or_random(seed)
        return self._with(Part(0.0, at, drawn)), self._with(Part(at, 1.0, drawn))

    def file_metadata(self, col: str) -> FileColumn:
        """Return a property of the files to compare with in `filter`.

        `col` is one of Size (bytes), LastModifiedTime, CreationTime, Extension and CanSeek.
        """
        return FileColumn(col)

    def filter(self, expression: DatasetExpression) -> "FileDataset":
        """Return a dataset of the files for which `expression` holds."""
        if not isinstance(expression, DatasetExpression):
            raise UserErrorException("filter() takes a comparison of file_metadata(…), such as Size > 10.")
        return self._with(Filter(expression.terms))

    def _with(self, step: Step) -> "FileDataset":
        return self._narrowed(msgspec.structs.replace(self._definition, steps=(*self._definition.steps, step)))

    def _listing(self) -> "PackedListing":
        from mountd.modes.datasets import listing_of

        spec = self.location().store
        assert isinstance(spec, DatasetSpec)
        return blocking.run(lambda: listing_of(spec))


def _count(count: int) -> int:
    if count < 0:
        raise UserErrorException(f"count is a number of files, 0 or more, not {count!r}.")
    return count


def _fraction(value: float, name: str) -> float:
    if not 0 <= value <= 1:
        raise UserErrorException(f"{name} is a number from 0 to 1, not {value!r}.")
    return float(value)


__getattr__ = absent(__name__)
