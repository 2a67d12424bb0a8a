"""Makes datasets from paths: `Dataset.File` and `Dataset.Tabular`.

Nothing is read here: what a path names is looked up when the dataset is used.
"""

import logging
import os
from collections.abc import Mapping
from typing import Any

from mountd.azureml.absent import NotPartOfMountdError, PartlyAbsent, absent
from mountd.azureml.data.azure_storage_datastore import AbstractAzureStorageDatastore
from mountd.azureml.data.data_reference import DataReference
from mountd.azureml.data.datapath import DataPath
from mountd.azureml.data.file_dataset import FileDataset
from mountd.azureml.data.source_paths import sources_of
from mountd.azureml.data.tabular_dataset import TabularDataset
from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.azureml.working_directory import current_directory
from mountd.catalog.dataset import DatasetDefinition, define

_log = logging.getLogger(__name__)


class FileDatasetFactory(PartlyAbsent):
    """Makes file datasets."""

    @staticmethod
    def from_files(
        path: object, validate: bool = True, partition_format: str | None = None, is_file: bool = False
    ) -> FileDataset:
        """Return a dataset of the files at `path`.

        Args:
            path: a URL, a datastore and a path in it as a tuple, a `DataPath`, a `DataReference`, or a list of those.
                A directory means all files below it; `*` and `**` are patterns.
            validate: taken and left.
            partition_format: not part of mountd.
            is_file: the path is a single file's; looking will say so as well.

        Raises:
            UserErrorException: `path` is none of these.
        """
        _absent_option("partition_format", partition_format)
        if is_file and validate:
            _log.warning("No validation will be performed because `is_file` is set to True.")
        sources = sources_of(path)
        return FileDataset(_defined(sources.texts, "file_dataset"), sources.home)

    @staticmethod
    def upload_directory(
        src_dir: str,
        target: object,
        pattern: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> FileDataset:
        """Upload the directory `src_dir` to `target` and return a dataset of what is there then.

        Args:
            src_dir: a local directory.
            target: a datastore, a datastore and a path in it as a tuple, or a `DataPath`.
            pattern: not part of mountd.
            overwrite: replace files that exist.
            show_progress: print a line for each file.

        Raises:
            UserErrorException: `target` is none of these, `src_dir` is no directory, or not all of it arrived.
            AzureMLException: the store cannot be reached.
        """
        _absent_option("pattern", pattern)
        datastore, path = _target(target)
        datastore.upload(src_dir, path, overwrite=overwrite, show_progress=show_progress)
        return FileDatasetFactory.from_files((datastore, path or "/"))


class TabularDatasetFactory(PartlyAbsent):
    """Makes tabular datasets; pandas is asked for when one is read."""

    @staticmethod
    def from_delimited_files(
        path: object,
        validate: bool = True,
        include_path: bool = False,
        infer_column_types: bool = True,
        set_column_types: Mapping[str, Any] | None = None,
        separator: str = ",",
        header: bool = True,
        partition_format: str | None = None,
        support_multi_line: bool = False,
        empty_as_string: bool = False,
        encoding: str = "utf8",
    ) -> TabularDataset:
        """Return a dataset of the rows of delimited files, such as CSV.

        Args:
            path: as for `from_files`.
            validate: taken and left.
            include_path: add the column `Path` with the path of each row's file.
            infer_column_types: find out which columns hold numbers, truth values and times; without it all are text.
            set_column_types: not part of mountd.
            separator: what stands between two values.
            header: whether the first line of each file names the columns.
            partition_format: not part of mountd.
            support_multi_line: taken and left: a line break inside of quotes is always part of a value.
            empty_as_string: keep empty values as empty text instead of null.
            encoding: of the files.

        Raises:
            UserErrorException: an argument is none of these.
        """
        del validate, support_multi_line
        _absent_option("set_column_types", set_column_types)
        _absent_option("partition_format", partition_format)
        if not isinstance(header, bool):
            raise UserErrorException("header is True or False in mountd.")
        return _tabular(
            path,
            "delimited",
            include_path=include_path,
            infer_column_types=infer_column_types,
            separator=separator,
            header=header,
            empty_as_string=empty_as_string,
            encoding=encoding,
        )

    @staticmethod
    def from_parquet_files(
        path: object,
        validate: bool = True,
        include_path: bool = False,
        set_column_types: Mapping[str, Any] | None = None,
        partition_format: str | None = None,
    ) -> TabularDataset:
        """Return a dataset of the rows of Parquet files; arguments and errors as for `from_delimited_files`."""
        del validate
        _absent_option("set_column_types", set_column_types)
        _absent_option("partition_format", partition_format)
        return _tabular(path, "parquet", include_path=include_path)

    @staticmethod
    def from_json_lines_files(
        path: object,
        validate: bool = True,
        include_path: bool = False,
        set_column_types: Mapping[str, Any] | None = None,
        partition_format: str | None = None,
        invalid_lines: str = "error",
        encoding: str = "utf8",
    ) -> TabularDataset:
        """Return a dataset of files with a JSON object in each line; otherwise as `from_delimited_files`.

        `invalid_lines` is `error` or `drop`.
        """
        del validate
        _absent_option("set_column_types", set_column_types)
        _absent_option("partition_format", partition_format)
        if invalid_lines not in {"error", "drop"}:
            raise UserErrorException(f"invalid_lines is 'error' or 'drop', not {invalid_lines!r}.")
        return _tabular(path, "jsonlines", include_path=include_path, invalid_lines=invalid_lines, encoding=encoding)


def _tabular(path: object, form: str, **options: Any) -> TabularDataset:
    sources = sources_of(path)
    return TabularDataset(_defined(sources.texts, "tabular", form, options), sources.home)


def _defined(
    texts: list[str], kind: Any, form: str | None = None, options: Mapping[str, Any] | None = None
) -> DatasetDefinition:
    with as_api_errors():
        return define(texts, environ=os.environ, cwd=current_directory(), type=kind, format=form, options=options)


def _absent_option(name: str, value: object) -> None:
    if value is not None:
        raise NotPartOfMountdError(name)


def _target(target: object) -> tuple[AbstractAzureStorageDatastore, str | None]:
    datastore, path = target, None
    if isinstance(target, tuple) and len(target) == 2:
        datastore, path = target
    elif isinstance(target, DataPath | DataReference):
        datastore, path = target.datastore, target.path_on_datastore
    if not isinstance(datastore, AbstractAzureStorageDatastore) or not isinstance(path, str | None):
        raise UserErrorException("target is a datastore, a tuple of a datastore and a path, or a DataPath.")
    return datastore, path


__getattr__ = absent(__name__)
