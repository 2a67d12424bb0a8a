"""A job's file, whichever of the kinds that Azure ML has: read by its name."""

import os
from pathlib import Path

from mountd.run.job import JobSpec
from mountd.run.job_yaml import read_job
from mountd.run.runconfig import CONFIG_DIRECTORIES, read_runconfig


def read_job_file(path: Path) -> JobSpec:
    """Return the job in `path`.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is malformed, or asks for what this version does not do; names file and field.
    """
    # azureml-core saves under the bare name that it is given.
    bare = not path.suffix and Path(os.path.abspath(path)).parent.name in CONFIG_DIRECTORIES
    return read_runconfig(path) if path.suffix == ".runconfig" or bare else read_job(path)
