"""Lays out a new workspace: whole, or with no trace of the attempt. Many may try at once; all find the same.

```
.azureml/config.json                    Azure ML's own keys and `default_datastore`
.azureml/datastores/<name>.yml          two local datastores
.azureml/storage/<name>/                what is stored in them
```
"""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mountd.catalog.atomic_files import DIRECTORY_MODE, file_errors, sync_directory, write_file, write_json
from mountd.catalog.datastore import LocalDatastore, encode_datastore
from mountd.errors import DeniedError

DEFAULT_DATASTORE = "workspaceblobstore"
NO_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
"""Marks a workspace that Azure knows nothing of."""

_FIRST_DATASTORES = (DEFAULT_DATASTORE, "workspacefilestore")


def file_kind(path: Path) -> int:
    """Return what is at `path`, links followed: `stat.S_IFREG`, `stat.S_IFDIR` and so on, 0 for nothing.

    `is_file()` and `is_dir()` will not do: some versions of Python raise where a directory on the way may not be
    searched, others say False, as if nothing were there.

    Raises:
        DeniedError: this user may not look; it names the directory that is closed.
    """
    try:
        return stat.S_IFMT(os.stat(path).st_mode)
    except PermissionError:
        # The first directory on the way that keeps this user out. What is below it cannot even be seen.
        closed = (parent for parent in reversed(path.parents) if not os.access(parent, os.X_OK, effective_ids=True))
        raise denied(next(closed, path.parent)) from None
    except (OSError, ValueError):  # nothing there, a loop of links, a file on the way, a NUL in the name
        return 0


def is_workspace(root: Path) -> bool:
    """Say whether `root` is a workspace.

    Raises:
        DeniedError: this user may not look.
    """
    # azureml-core keeps its login in ~/.azureml, so the directory alone says nothing.
    directory = root / ".azureml"
    return file_kind(directory / "config.json") == stat.S_IFREG or file_kind(directory / "datastores") == stat.S_IFDIR


def is_closed(directory: Path) -> bool:
    """Say whether this user may not even look up names in `directory`."""
    try:
        file_kind(directory / ".azureml")
    except DeniedError:
        return True
    return False


def denied(path: Path) -> DeniedError:
    """Return the error that says that `path` is closed to this user, and what to do about it."""
    return DeniedError(f"{path}: permission to read it is missing; change its permissions, or run mountd as its owner")


def lay_out_workspace(root: Path) -> None:
    """Make `root`, an absolute path, a workspace; if it is one, change nothing. What is there already is kept.

    Raises:
        MountdError: the file system refused; nothing is left behind.
    """
    directory = root / ".azureml"
    datastores, config = directory / "datastores", directory / "config.json"
    if file_kind(config) == stat.S_IFREG and file_kind(datastores) == stat.S_IFDIR:
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
