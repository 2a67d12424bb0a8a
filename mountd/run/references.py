"""DataReferences of Azure ML's first Python SDK, as inputs and outputs of a job.

Pure. On the compute a reference lives at `<datastore>/<path_on_compute>` below the working directory, and an absolute
`path_on_compute` is taken as it is. What only hurts is mended:

- `./foo`, `/foo` and `foo` name the same place in the datastore.
- Without a `path_on_compute` a reference that would lie on or in another one lives in the run's own directory.
- The output of `as_upload(path_on_compute="./bar.pkl")` is also found where everybody's script writes it: at
  `./bar.pkl`.
"""

import posixpath
from urllib.parse import quote

from mountd.errors import UsageError
from mountd.run.environment import Mode
from mountd.run.job import JobInput, JobOutput, leaves_run


def reference_input(
    name: str, *, datastore: str, path: str | None, mode: Mode, path_on_compute: str | None = None
) -> JobInput:
    """Return the input for a reference that is mounted or downloaded.

    Args:
        name: of the reference.
        datastore: its datastore's name.
        path: the path in it; None is the root.
        mode: `Mode.MOUNT` or `Mode.DOWNLOAD`.
        path_on_compute: where it is wanted.

    Raises:
        UsageError: `path` leads out of the datastore.
    """
    place = _place(name, path)
    target = None if path_on_compute is None else _on_compute(datastore, path_on_compute)
    gives_way = target is None
    if target is None and mode is Mode.DOWNLOAD:
        target = _on_compute(datastore, place)  # where Azure ML puts it: whole names are kept
    return JobInput(
        name=name,
        source=_uri(datastore, place),
        mode=Mode.MOUNT if mode is Mode.MOUNT else Mode.DOWNLOAD,
        path_on_compute=target,
        gives_way=gives_way,
        includes_name=gives_way and mode is Mode.DOWNLOAD,
    )


def reference_output(
    name: str, *, datastore: str, path: str | None, path_on_compute: str | None = None, overwrite: bool = True
) -> JobOutput:
    """Return the output for a reference that is uploaded.

    Raises:
        UsageError: `path` leads out of the datastore, or there is nothing to say where the data is on the compute.
    """
    if not path_on_compute:
        raise UsageError(f"DataReference {name} misses the relative path on the compute; give as_upload one")
    target = _on_compute(datastore, path_on_compute)
    return JobOutput(
        name=name,
        target=_uri(datastore, _place(name, path)).rstrip("/") + "/",
        path_on_compute=target,
        otherwise=None if posixpath.isabs(path_on_compute) or leaves_run(path_on_compute) else path_on_compute,
        is_file=True,  # whatever it turns out to be: nothing is made for it but the directory it is in
        overwrite=overwrite,
    )


def _place(name: str, path: str | None) -> str:
    parts = [part for part in (path or "").replace("\\", "/").split("/") if part not in {"", "."}]
    if ".." in parts:
        raise UsageError(f"DataReference {name}: the path {path!r} leads out of the datastore; leave the '..' out")
    return "/".join(parts)


def _on_compute(datastore: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(datastore, path))


def _uri(datastore: str, place: str) -> str:
    return f"azureml://datastores/{datastore}/paths/{quote(place)}"
