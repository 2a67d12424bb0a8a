"""Lays out a new workspace: whole, or with no trace of the attempt. Many may try at once; all find the same.

```
.azureml/config.json                    Azure ML's own keys and `default_datastore`
.azureml/datastores/<name>.yml          two local datastores
.azureml/storage/<name>/                what is stored in them
```
"""

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mountd.catalog.atomic_files import DIRECTORY_MODE, file_errors, sync_directory, write_file, write_json
from mountd.catalog.datastore import LocalDatastore, encode_datastore

DEFAULT_DATASTORE = "workspaceblobstore"
NO_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
"""Marks a workspace that Azure knows nothing of."""

_FIRST_DATASTORES = (DEFAULT_DATASTORE, "workspacefilestore")


def lay_out_workspace(root: Path) -> None:
    """Make `root`, an absolute path, a workspace; if it is one, change nothing. What is there already is kept.

    Raises:
        MountdError: the file system refused; nothing is left behind.
    """
    directory = root / ".azureml"
    datastores, config = directory / "datastores", directory / "config.json"
    if config.is_file() and datastores.is_dir():
        return
    with file_errors(directory), _no_traces() as undo:
        for parent in reversed([root, *root.parents]):
            _make_directory(parent, undo, mode=0o777)
        storage = directory / "storage"
        for path in [directory, storage, *(storage / name for name in _FIRST_DATASTORES)]:
            _make_directory(path, undo)
        if not datastores.is_dir():
            _make_datastores(datastores, undo)
        with contextlib.suppress(FileExistsError):
            first = {
                "subscription_id": NO_SUBSCRIPTION,
                "resource_group": "local",
                "workspace_name": root.name or "workspace",
                "default_datastore": DEFAULT_DATASTORE,
            }
            write_json(config, first, overwrite=False)
        sync_directory(directory)


def _make_datastores(directory: Path, undo: contextlib.ExitStack) -> None:
    building = Path(tempfile.mkdtemp(prefix=".datastores.", dir=directory.parent))  # mode 0700
    undo.callback(shutil.rmtree, building, ignore_errors=True)
    for name in _FIRST_DATASTORES:
        local = LocalDatastore(name=name, path=f"../storage/{name}")  # relative: a workspace can be moved
        write_file(building / f"{name}.yml", encode_datastore(local), overwrite=False)
    try:
        building.rename(directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(building)  # another attempt was faster, and made the same
    else:
        undo.callback(shutil.rmtree, directory, ignore_errors=True)


def _make_directory(path: Path, undo: contextlib.ExitStack, mode: int = DIRECTORY_MODE) -> None:
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        undo.callback(_remove_empty, path)


def _remove_empty(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.rmdir()


@contextlib.contextmanager
def _no_traces() -> Iterator[contextlib.ExitStack]:
    """Run what was pushed on the stack, last first, if the block fails."""
    with contextlib.ExitStack() as undo:
        yield undo
        undo.pop_all()
