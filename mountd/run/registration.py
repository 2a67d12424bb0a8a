"""What a run has uploaded, registered under a name in the workspace: the last step of a run that succeeded.

Each is pinned at once: the next run may write to the same place before anybody has used it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from mountd.aio.threads import Lane
from mountd.catalog.dataset import define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.dataset_yaml import RegisteredDataset
from mountd.catalog.model import DatasetSpec
from mountd.catalog.resolve import dataset_location
from mountd.catalog.workspace import Workspace
from mountd.errors import MountdError
from mountd.run.failures import ERROR_MARK
from mountd.run.job import JobSpec
from mountd.run.job_plan import target_of


async def register_outputs(
    job: JobSpec, run: str, *, workspace: Workspace, environ: Mapping[str, str], say: Callable[[str], None]
) -> str | None:
    """Register the outputs of `job` that ask for it, each as a new version of its dataset.

    Returns:
        What is wrong with the first one that could not be registered.
    """
    failure: str | None = None
    lane = Lane("registry", 1)
    registry = DatasetRegistry(workspace)
    for output in job.outputs:
        if output.register_as is None:
            continue
        try:
            definition = define(
                [target_of(output, run, workspace)],
                environ=environ,
                cwd=Path(job.base),
                type="uri_file" if output.is_file else "uri_folder",
            )
            made = await lane.run(
                partial(
                    registry.register,
                    definition,
                    output.register_as,
                    description=output.description,
                    tags=output.tags,
                    new_version=True,
                    even_if_identical=True,  # the run has just written it
                )
            )
        except MountdError as error:
            say(f"{ERROR_MARK}output {output.name!r}: cannot be registered: {error.message}")
            failure = failure or f"output {output.name!r}: cannot be registered: {error.message}"
        else:
            say(f"Registered output '{output.name}' as azureml:{made.dataset.title}.")
            await _pin(made.dataset, workspace, environ, say)
    return failure


async def _pin(
    dataset: RegisteredDataset, workspace: Workspace, environ: Mapping[str, str], say: Callable[[str], None]
) -> None:
    from mountd.modes.datasets import listing_of  # noqa: PLC0415 - the storage libraries: half a second

    find = partial(dataset_location, dataset, workspace=workspace, environ=environ, cwd=workspace.root)
    try:
        store = (await Lane("registry", 1).run(find)).store
        assert isinstance(store, DatasetSpec), "the location of a dataset is one"
        await listing_of(store)
    except MountdError as error:
        say(f"mountd: azureml:{dataset.title} is pinned by its first use, not now: {error.message}")
