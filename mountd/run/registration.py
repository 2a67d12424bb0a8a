"""What a run has uploaded, registered under a name in the workspace: the last step of a run that succeeded.

Blocking; talks to no storage.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from mountd.catalog.dataset import define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.workspace import Workspace
from mountd.errors import MountdError
from mountd.run.job import JobSpec
from mountd.run.job_plan import target_of


def register_outputs(
    job: JobSpec, run: str, *, workspace: Workspace, environ: Mapping[str, str], say: Callable[[str], None]
) -> str | None:
    """Register the outputs of `job` that ask for it, each as a new version of its dataset.

    Returns:
        What is wrong with the first one that could not be registered.
    """
    failure: str | None = None
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
            made = registry.register(
                definition,
                output.register_as,
                description=output.description,
                tags=output.tags,
                new_version=True,
                even_if_identical=True,  # the run has just written it
            ).dataset
        except MountdError as error:
            say(f"mountd: error: output {output.name!r}: cannot be registered: {error.message}")
            failure = failure or f"output {output.name!r}: cannot be registered: {error.message}"
        else:
            say(f"Registered output '{output.name}' as azureml:{made.title}.")
    return failure
