"""Datastores that hold files: Blob containers, file shares, and directories of this node."""

from mountd.azureml.absent import absent
from mountd.azureml.data import transfers
from mountd.azureml.data.abstract_datastore import AbstractDatastore
from mountd.azureml.data.data_reference import DataReference
from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.catalog.model import LocalSpec


class AbstractAzureStorageDatastore(AbstractDatastore):
    """A datastore with files in it."""

    _needs_credential = False

    def path(self, path: str | None = None, data_reference_name: str | None = None) -> DataReference:
        """Return a reference to `path` in it, or to all of it."""
        return DataReference(self, data_reference_name, path)

    def as_mount(self) -> DataReference:
        """Return a reference to all of it, to be mounted while a run's script runs."""
        return self.path().as_mount()

    def as_download(self, path_on_compute: str | None = None) -> DataReference:
        """Return a reference to all of it, to be downloaded before a run's script runs."""
        return self.path().as_download(path_on_compute)

    def as_upload(self, path_on_compute: str | None = None) -> DataReference:
        """Return a reference to its root, to which a run uploads `path_on_compute` after its script."""
        return self.path().as_upload(path_on_compute)

    @as_api_errors()
    def upload(
        self, src_dir: str, target_path: str | None = None, overwrite: bool = False, show_progress: bool = True
    ) -> DataReference:
        """Upload everything below the local directory `src_dir` to `target_path`, hidden files too.

        Progress goes to standard output, two lines per file, unless `show_progress` is false.

        Raises:
            UserErrorException: `src_dir` is no directory, nobody may write there, or not all of it arrived.
            AzureMLException: the store cannot be reached.
        """
        self._check_writable()
        transfers.upload(self._place(), str(src_dir), target_path, overwrite=overwrite, show=show_progress)
        return DataReference(self, path_on_datastore=target_path or "")

    @as_api_errors()
    def upload_files(
        self,
        files: list[str],
        relative_root: str | None = None,
        target_path: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> DataReference:
        """Upload local `files`; their paths below `relative_root`, or what they have in common, stay.

        Raises:
            UserErrorException: one is no file, or not below `relative_root`, or not all of them arrived.
            AzureMLException: the store cannot be reached.
        """
        self._check_writable()
        named = [str(file) for file in files]
        transfers.upload_files(
            self._place(), named, relative_root, target_path, overwrite=overwrite, show=show_progress
        )
        return DataReference(self, path_on_datastore=target_path or "")

    @as_api_errors()
    def download(
        self, target_path: str, prefix: str | None = None, overwrite: bool = False, show_progress: bool = True
    ) -> int:
        """Download what begins with `prefix`, or everything, to the local directory `target_path`.

        Files keep their whole name in the datastore below `target_path`. A leading `./` or `/` of `prefix` means
        nothing.

        Returns:
            The number of files that were downloaded.

        Raises:
            UserErrorException: not all of it arrived; names a file and why.
            AzureMLException: the store cannot be reached.
        """
        return transfers.download(self._place(), str(target_path), prefix, overwrite=overwrite, show=show_progress)

    def _place(self) -> transfers.Place:
        directory = self._workspace.catalog.datastores_directory
        return transfers.Place(store=self._record.store(directory), datastore=self.name)

    def _check_writable(self) -> None:
        if self._needs_credential and getattr(self._record, "credentials", None) is None:
            raise UserErrorException(
                "Upload cannot be performed since the Azure Storage Blob datastore does not have an access key "
                f"(account key) or SAS token. Register {self.name} with one of them."
            )


class AzureBlobDatastore(AbstractAzureStorageDatastore):
    """A Blob container."""

    datastore_type = "AzureBlob"
    _needs_credential = True
    _shown = (
        ("name", "name"),
        ("container_name", "container_name"),
        ("account_name", "account_name"),
        ("protocol", "protocol"),
        ("endpoint", "endpoint"),
    )

    @property
    def container_name(self) -> str:
        """The container."""
        return str(getattr(self._record, "container_name", ""))

    @property
    def account_name(self) -> str:
        """The storage account."""
        return str(getattr(self._record, "account_name", ""))


class AzureFileDatastore(AbstractAzureStorageDatastore):
    """A file share."""

    datastore_type = "AzureFile"
    _shown = (
        ("name", "name"),
        ("container_name", "file_share_name"),
        ("account_name", "account_name"),
        ("protocol", "protocol"),
        ("endpoint", "endpoint"),
    )

    @property
    def container_name(self) -> str:
        """The share: Azure ML's client calls it so."""
        return str(getattr(self._record, "file_share_name", ""))

    @property
    def account_name(self) -> str:
        """The storage account."""
        return str(getattr(self._record, "account_name", ""))


class LocalDatastore(AbstractAzureStorageDatastore):
    """A directory of this node: mountd's own kind, and what a new workspace begins with."""

    datastore_type = "Local"

    def __repr__(self) -> str:
        store = self._place().store
        assert isinstance(store, LocalSpec)
        return f'{{\n  "name": "{self.name}",\n  "path": "{store.path}"\n}}'

    __str__ = __repr__


__getattr__ = absent(__name__)
